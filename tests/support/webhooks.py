"""Builders of webhook endpoints."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from penstock_contracts.webhooks import WebhookEndpoint

__all__ = ["ENDPOINT", "NOW", "an_endpoint"]

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
ENDPOINT = "we_" + "0" * 32


def an_endpoint(number: int = 0, **changes: Any) -> WebhookEndpoint:
    """An endpoint of tenant acme that wants everything."""
    fields: dict[str, Any] = {
        "id": f"we_{number:032x}",
        "tenant": "acme",
        "url": "https://hooks.example.com/in",
        "events": ["*"],
        "enabled_at": NOW,
        "created_at": NOW,
    }
    return WebhookEndpoint(**(fields | changes))
