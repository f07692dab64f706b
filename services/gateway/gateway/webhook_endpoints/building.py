"""Puts `/v1/webhook_endpoints` together."""

from __future__ import annotations

from penstock_contracts.ids import JobIds
from penstock_kit.webhooks.endpoints import WebhookEndpoints
from penstock_kit.webhooks.secrets import WebhookSecrets

from gateway.openai.reading import BodyReader
from gateway.openai.wiring import FrontDoor
from gateway.webhook_endpoints.book import EndpointBook
from gateway.webhook_endpoints.desk import WebhookDesk, WebhookLimits
from gateway.webhook_endpoints.endpoints import WebhookEndpointRoutes
from gateway.webhook_endpoints.ports import EndpointLog

__all__ = ["build_webhook_endpoints"]

_MAX_BODY_BYTES = 64 * 1024
"""Far more than any endpoint has to say."""


def build_webhook_endpoints(
    door: FrontDoor, endpoints: WebhookEndpoints, log: EndpointLog
) -> WebhookEndpointRoutes:
    """The routes over endpoints that a reader of their topic keeps current."""
    settings, native = door.settings, door.native
    secret = settings.auth.id_secret.get_secret_value().encode()
    return WebhookEndpointRoutes(
        reader=BodyReader(
            authenticator=native.authenticator,
            bodies=native.bodies,
            max_body_bytes=_MAX_BODY_BYTES,
        ),
        desk=WebhookDesk(
            book=EndpointBook(
                endpoints=endpoints, log=log, producer=native.producer, clock=native.clock
            ),
            secrets=WebhookSecrets(secret),
            urls=settings.webhooks.url_rules(),
            ids=JobIds(secret),
            limits=WebhookLimits(
                per_tenant=settings.webhooks.per_tenant,
                secret_overlap=settings.webhooks.secret_overlap,
                replay_for=settings.gateway.idempotency_ttl,
            ),
            clock=native.clock,
            randomness=native.randomness,
        ),
    )
