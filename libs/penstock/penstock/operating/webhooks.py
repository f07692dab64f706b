"""Webhook endpoints of all tenants, read from and written to `ai.webhooks.endpoints.v1`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import uuid4

from penstock_contracts.webhooks import WebhookEndpoint, is_known_pattern
from penstock_kit.clock import Clock
from penstock_kit.errors import PenstockError
from penstock_kit.kafka.ports import OutRecord
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.settings import KafkaSettings
from penstock_kit.webhooks.endpoints import EndpointView, WebhookEndpoints
from penstock_kit.webhooks.table import WebhookTable, endpoint_record, endpoint_tombstones

__all__ = [
    "NoEndpoint",
    "UnknownEvents",
    "WebhookLog",
    "disabled",
    "enabled",
    "new_endpoint",
    "rotated",
]

_SOURCE = "penstock/webhook"


class NoEndpoint(PenstockError):
    """There is no endpoint of that id; the message names the command that lists all."""


class WebhookLog:
    """All endpoints of a deployment."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        clock: Clock,
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._new_id = new_id

    async def read(self) -> list[EndpointView]:
        """Every endpoint, the oldest first."""
        endpoints = WebhookEndpoints()
        table = WebhookTable(self._settings, endpoints)
        try:
            await table.start()
        finally:
            await table.stop()
        return endpoints.everywhere()

    async def find(self, endpoint_id: str) -> EndpointView:
        """One endpoint.

        Raises:
            NoEndpoint: there is none of that id.
        """
        for view in await self.read():
            if view.endpoint.id == endpoint_id:
                return view
        raise NoEndpoint(
            f"there is no webhook endpoint {endpoint_id!r}; `penstock webhook list` shows all ids"
        )

    async def write(self, endpoint: WebhookEndpoint) -> None:
        """Make it known to every gateway and notifier, within moments.

        Raises:
            DeliveryUnknown: no acknowledgement; writing it again is harmless.
        """
        record = endpoint_record(
            endpoint, source=_SOURCE, now=self._clock.now(), event_id=self._new_id()
        )
        await self._send([record])

    async def remove(self, endpoint_id: str) -> None:
        """Forget it and all that is known of it.

        Raises:
            DeliveryUnknown: no acknowledgement; removing it again is harmless.
        """
        await self._send(endpoint_tombstones(endpoint_id))

    async def _send(self, records: list[OutRecord]) -> None:
        producer = KafkaProducer(self._settings, client_id="penstock-webhook")
        await producer.start()
        try:
            for record in records:
                await producer.send(record)
        finally:
            await producer.stop()


class UnknownEvents(PenstockError):
    """Nothing of that name is ever told."""


def new_endpoint(
    *, tenant: str, url: str, events: list[str], description: str, now: datetime
) -> WebhookEndpoint:
    """An endpoint with a random id; `url` has been checked.

    Raises:
        UnknownEvents: an event that does not exist.
        ValidationError: the tenant or a text cannot be.
    """
    for pattern in events:
        if not is_known_pattern(pattern):
            raise UnknownEvents(
                f"no event is called {pattern!r}; use for example response.completed, batch.* or *"
            )
    return WebhookEndpoint(
        id=f"we_{uuid4().hex}",
        tenant=tenant,
        url=url,
        events=events,
        description=description,
        enabled_at=now,
        created_at=now,
    )


def rotated(endpoint: WebhookEndpoint, *, now: datetime, overlap: timedelta) -> WebhookEndpoint:
    """The same with a new secret; the old one signs beside it for a while."""
    return endpoint.model_copy(
        update={
            "generation": endpoint.generation + 1,
            "rotated_at": now,
            "overlap_until": now + overlap,
            "rotation_key": None,
        }
    )


def enabled(endpoint: WebhookEndpoint, *, now: datetime) -> WebhookEndpoint:
    """The same, wanted again; an earlier suspension holds no longer."""
    return endpoint.model_copy(
        update={"enabled": True, "enablement": endpoint.enablement + 1, "enabled_at": now}
    )


def disabled(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    """The same; deliveries to it are dropped."""
    return endpoint.model_copy(update={"enabled": False})
