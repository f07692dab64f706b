"""The headers that prove a delivery: Standard Webhooks, with the package of that name."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Final

from penstock_contracts.webhooks import WebhookEndpoint
from penstock_kit.webhooks.deliveries import WebhookDelivery
from penstock_kit.webhooks.secrets import WebhookSecrets
from standardwebhooks import Webhook

from notifier import VERSION

__all__ = ["Signer"]

_USER_AGENT: Final = f"Penstock-Webhooks/{VERSION}"


class Signer:
    """Signs bodies as they are; nothing is encoded again."""

    def __init__(self, secrets: WebhookSecrets) -> None:
        self._secrets = secrets

    def headers(
        self, endpoint: WebhookEndpoint, delivery: WebhookDelivery, *, now: datetime
    ) -> dict[str, str]:
        """All headers of the request; two signatures while the secret is being rotated."""
        text = delivery.body.decode()
        signatures = [
            _signing(secret).sign(delivery.event_id, now, text)
            for secret in self._secrets.signing(endpoint, now=now)
        ]
        return {
            "content-type": "application/json",
            "user-agent": _USER_AGENT,
            "webhook-id": delivery.event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }


@lru_cache(maxsize=1024)
def _signing(secret: str) -> Webhook:
    return Webhook(secret)
