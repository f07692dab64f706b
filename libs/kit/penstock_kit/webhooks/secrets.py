"""Signing secrets of endpoints: derived, stored nowhere."""

from __future__ import annotations

import base64
from datetime import datetime

from penstock_contracts.mac import hmac_sha256
from penstock_contracts.webhooks import WebhookEndpoint

__all__ = ["WebhookSecrets"]

_PREFIX = "whsec_"


class WebhookSecrets:
    """Makes the secrets of a deployment's endpoints from its id secret.

    A secret is HMAC-SHA256(id secret, "webhook" LF tenant LF endpoint LF generation). So who reads
    topics, logs or backups learns none, and a rotation is one number more.
    """

    def __init__(self, id_secret: bytes) -> None:
        self._id_secret = id_secret

    def present(self, endpoint: WebhookEndpoint) -> str:
        """The endpoint's secret as its owner gets it: `whsec_` and base64."""
        return self._of(endpoint, endpoint.generation)

    def signing(self, endpoint: WebhookEndpoint, *, now: datetime) -> list[str]:
        """The secrets that sign now, the newest first: two while a rotation is under way."""
        secrets = [self.present(endpoint)]
        until = endpoint.overlap_until
        if endpoint.generation > 1 and until is not None and now < until:
            secrets.append(self._of(endpoint, endpoint.generation - 1))
        return secrets

    def _of(self, endpoint: WebhookEndpoint, generation: int) -> str:
        text = f"webhook\n{endpoint.tenant}\n{endpoint.id}\n{generation}".encode()
        return _PREFIX + base64.b64encode(hmac_sha256(self._id_secret, text)).decode()
