"""`/v1/webhook_endpoints`: who is told when something ends."""
