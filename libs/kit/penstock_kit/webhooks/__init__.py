"""Webhook endpoints: which addresses are allowed, who wants what, and how deliveries are signed."""
