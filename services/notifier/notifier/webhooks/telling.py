"""From an end to one delivery per endpoint that wants it."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from penstock_contracts.ids import JobIds
from penstock_contracts.topics import BATCH_EVENTS
from penstock_kit.errors import Busy
from penstock_kit.jobs.issued import may_belong
from penstock_kit.kafka.ports import Producer
from penstock_kit.lanes.outcomes import Delivery, Done, Outcome
from penstock_kit.lanes.patience import send_patiently
from penstock_kit.tenancy import TenantScope
from penstock_kit.webhooks.deliveries import Notice, delivery_record
from penstock_kit.webhooks.endpoints import WebhookEndpoints

from notifier.webhooks.metrics import WebhookMetrics
from notifier.webhooks.noticing import JobEnd, read_batch_end, read_job_end
from notifier.webhooks.ports import Ends

__all__ = ["SOURCE", "Teller"]

log = structlog.get_logger(__name__)

SOURCE: Final = "/penstock/notifier"
_BEHIND_S: Final = 0.1
_LONGEST_S: Final = 5.0
"""The recorder is rarely later than the first pause; while it is down, thousands may wait."""
_PATIENCE: Final = 150
"""Looks at the table, about ten minutes of them. What it then still does not have, it will never
have; the event itself is sound, so it is told."""


class Teller:
    """The lanes' handler over topics that tell of ends.

    A job's end is told once the job table has it: then the event counts, and who is told can fetch
    the object at once. What is written twice, after a crash, has the same event id.
    """

    def __init__(
        self,
        *,
        endpoints: WebhookEndpoints,
        table: Ends,
        producer: Producer,
        ids: JobIds,
        metrics: WebhookMetrics,
    ) -> None:
        self._endpoints = endpoints
        self._table = table
        self._producer = producer
        self._ids = ids
        self._metrics = metrics

    async def __call__(self, delivery: Delivery) -> Outcome:
        """Write the deliveries of one record.

        Raises:
            Rejected: the record is broken.
            Busy: the job table is away or does not have the end yet.
        """
        record = delivery.record
        if record.topic == BATCH_EVENTS.name:
            notice = read_batch_end(record)
        else:
            notice = await self._counted(read_job_end(record), looks=delivery.deliveries)
        if notice is not None:
            await self._tell(notice)
        return Done()

    async def _counted(self, end: JobEnd, *, looks: int) -> Notice | None:
        """The notice of an end that counts and that somebody wants."""
        notice = end.notice
        if not may_belong(self._ids, end.job, notice.tenant):
            return None
        if not self._endpoints.wanting(notice.tenant, notice.event, at=notice.at):
            return None
        state = await self._table.get(TenantScope(notice.tenant), end.job)
        if state is None or not state.status.is_terminal:
            if looks > _PATIENCE:
                log.warning("webhook.end_unconfirmed", job_id=end.job)
                return notice
            raise Busy(
                "the recorder has not folded the end of a job yet; its webhooks wait",
                retry_after_s=min(_BEHIND_S * looks, _LONGEST_S),
            )
        return notice if state.status == end.status else None

    async def _tell(self, notice: Notice) -> None:
        wanting = self._endpoints.wanting(notice.tenant, notice.event, at=notice.at)
        if not wanting:
            return
        self._metrics.noticed.labels(notice.event.partition(".")[0]).inc()
        await asyncio.gather(
            *(
                send_patiently(self._producer, delivery_record(notice, endpoint.id, source=SOURCE))
                for endpoint in wanting
            )
        )
        self._metrics.written.inc(len(wanting))
