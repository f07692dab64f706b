"""Webhooks: notices what ends, tells endpoints by signed requests, tries again for days."""
