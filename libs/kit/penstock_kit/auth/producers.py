"""Which services may write request events, and for whom; secrets are derived, never stored."""

from __future__ import annotations

import structlog
from penstock_contracts.credentials import Producer
from penstock_contracts.mac import hmac_sha256

__all__ = ["GATEWAY_PRODUCER", "ProducerKeys", "producer_secret"]

log = structlog.get_logger(__name__)

GATEWAY_PRODUCER = "gateway"
"""The producer id of all gateways: built in, trusted with every tenant they authenticated."""


def producer_secret(id_secret: bytes, producer: str, *, generation: int = 1) -> bytes:
    """The signing secret of a producer: HMAC-SHA256(id secret, "producer" LF id LF generation).

    `penstock token create --producer` shows it as 64 hex digits; those bytes, decoded, are the key.
    """
    text = f"producer\n{producer}\n{generation}".encode()
    return hmac_sha256(id_secret, text)


class ProducerKeys:
    """Implements `intake.ProducerSecrets`: the registered producers, in memory, and the gateway."""

    def __init__(self, id_secret: bytes) -> None:
        self._id_secret = id_secret
        self._gateway = producer_secret(id_secret, GATEWAY_PRODUCER)
        self._producers: dict[str, tuple[frozenset[str], bytes]] = {}

    def __len__(self) -> int:
        return len(self._producers)

    def put(self, producer: Producer) -> None:
        """Add a producer or replace what is known of it; a revoked one is forgotten."""
        if producer.id == GATEWAY_PRODUCER:
            log.warning("producer.reserved_name", producer=producer.id)
            return
        if producer.revoked_at is not None:
            self.remove(producer.id)
            return
        secret = producer_secret(self._id_secret, producer.id, generation=producer.generation)
        self._producers[producer.id] = (frozenset(producer.tenants), secret)

    def remove(self, producer_id: str) -> None:
        """Forget a producer; an unknown one is no error."""
        self._producers.pop(producer_id, None)

    def secret_for(self, producer: str, *, tenant: str) -> bytes | None:
        """The secret; None if the producer is unknown, revoked, or may not speak for the tenant."""
        if producer == GATEWAY_PRODUCER:
            return self._gateway
        known = self._producers.get(producer)
        return known[1] if known is not None and tenant in known[0] else None
