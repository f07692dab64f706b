"""The endpoint topic: kept current in memory, and its records."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import structlog
from penstock_contracts.catalog import CE_WEBHOOK_ENDPOINT
from penstock_contracts.codec import encode_model
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.topics import WEBHOOK_ENDPOINTS
from penstock_contracts.webhooks import (
    WebhookEndpoint,
    WebhookSuccess,
    WebhookSuspension,
    webhook_key,
)

from penstock_kit.kafka.ports import Headers, OutRecord
from penstock_kit.settings_groups import KafkaSettings
from penstock_kit.tail.table import TopicTable
from penstock_kit.webhooks.endpoints import WebhookEndpoints

__all__ = ["WebhookTable", "endpoint_record", "endpoint_tombstones"]

log = structlog.get_logger(__name__)

_CATCH_UP: Final = timedelta(seconds=3)
"""A broker that is there answers within 0.1 s, behind the fetch that waits for records; a caller
of the API waits for this one."""


class WebhookTable:
    """A Part: after `start` every endpoint written so far is known; later ones soon."""

    def __init__(self, settings: KafkaSettings, endpoints: WebhookEndpoints) -> None:
        self._endpoints = endpoints
        self._table = TopicTable(settings, WEBHOOK_ENDPOINTS.name, self.apply)

    @property
    def table(self) -> TopicTable:
        """The reader below, for health checks."""
        return self._table

    async def start(self) -> None:
        """Return when the topic has been read to its end."""
        await self._table.start()

    async def catch_up(self) -> bool:
        """Whether every record that was written before the call is known; waits a few seconds."""
        return await self._table.catch_up(_CATCH_UP)

    async def stop(self) -> None:
        """Stop reading; what is known stays."""
        await self._table.stop()

    def apply(self, key: str, value: bytes | None, headers: Headers = ()) -> None:
        """Take one record in."""
        del headers
        problem = self._endpoints.apply(key, value)
        if problem is not None:
            log.error("webhook.malformed_endpoint", key=key, problem=problem)


def endpoint_record(
    record: WebhookEndpoint | WebhookSuspension | WebhookSuccess,
    *,
    source: str,
    now: datetime,
    event_id: str,
) -> OutRecord:
    """The record that makes the newest word known to every gateway and notifier."""
    key = webhook_key(record)
    envelope = Envelope(
        id=event_id,
        source=source,
        type=CE_WEBHOOK_ENDPOINT,
        time=now,
        subject=key,
        tenant=record.tenant,
    )
    return OutRecord(
        topic=WEBHOOK_ENDPOINTS.name,
        key=key.encode(),
        value=encode_model(record),
        headers=encode_headers(envelope),
    )


def endpoint_tombstones(endpoint_id: str) -> list[OutRecord]:
    """The records that make an endpoint and all that is known of it forgotten."""
    keys = (endpoint_id, f"{endpoint_id}/suspension", f"{endpoint_id}/success")
    return [OutRecord(WEBHOOK_ENDPOINTS.name, key.encode(), None, []) for key in keys]
