"""Builders of webhook endpoints, and a reader of their topic."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from penstock_contracts.topics import WEBHOOK_ENDPOINTS
from penstock_contracts.webhooks import WebhookEndpoint
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.webhooks.endpoints import WebhookEndpoints

__all__ = ["ENDPOINT", "NOW", "MemoryEndpointLog", "an_endpoint"]

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


class MemoryEndpointLog:
    """Reads the topic only where it is asked to: as a reader that lags, or cannot hear a broker."""

    def __init__(self, kafka: MemoryKafka, endpoints: WebhookEndpoints) -> None:
        self._kafka = kafka
        self._endpoints = endpoints
        self.is_away = False

    async def catch_up(self) -> bool:
        """Take in what is written."""
        if self.is_away:
            return False
        for record in self._kafka.records(WEBHOOK_ENDPOINTS.name):
            self._endpoints.apply((record.key or b"").decode(), record.value)
        return True
