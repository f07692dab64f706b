"""From an end to one delivery per endpoint that wants it, and to the reply that was asked for."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from penstock_contracts.batches import BatchState
from penstock_contracts.ids import JobIds
from penstock_contracts.topics import BATCHES
from penstock_contracts.webhooks import WebhookEndpoint
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
from notifier.webhooks.ports import BatchShelf, Ends
from notifier.webhooks.replying import Replier

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

    An end is told once the table has it: then the event of a job counts, and who is told can fetch
    the object at once. What is written twice, after a crash, has the same event id.
    """

    def __init__(
        self,
        *,
        endpoints: WebhookEndpoints,
        table: Ends,
        batches: BatchShelf,
        producer: Producer,
        ids: JobIds,
        metrics: WebhookMetrics,
    ) -> None:
        self._endpoints = endpoints
        self._table = table
        self._batches = batches
        self._producer = producer
        self._replier = Replier(producer, metrics)
        self._ids = ids
        self._metrics = metrics

    async def __call__(self, delivery: Delivery) -> Outcome:
        """Write the deliveries of one record.

        Raises:
            Rejected: the record is broken.
            Busy: the job table is away or does not have the end yet.
        """
        record = delivery.record
        if record.topic == BATCHES.name:
            notice = read_batch_end(record)
            if notice is None or not await self._shows_batch(notice, looks=delivery.deliveries):
                return Done()
            await self._tell(notice)
        else:
            end = read_job_end(record)
            if await self._counts(end, looks=delivery.deliveries):
                if end.notice is not None:
                    await self._tell(end.notice)
                if end.reply is not None:
                    await self._replier.reply(record, end.reply)
        return Done()

    async def _counts(self, end: JobEnd, *, looks: int) -> bool:
        """Whether somebody wants the end, and it is the one that counts."""
        is_wanted = end.reply is not None or bool(end.notice and self._wanting(end.notice))
        if not may_belong(self._ids, end.job, end.tenant) or not is_wanted:
            return False
        state = await self._table.get(TenantScope(end.tenant), end.job)
        if state is None or not state.status.is_terminal:
            return _waited_long(looks, end.job)
        return state.status == end.status

    async def _shows_batch(self, notice: Notice, *, looks: int) -> bool:
        """Whether somebody wants the end, and who looks at the batch sees it."""
        if not self._wanting(notice):
            return False
        raw = await self._batches.get(TenantScope(notice.tenant), notice.subject)
        if raw is None or not BatchState.model_validate_json(raw).status.is_terminal:
            return _waited_long(looks, notice.subject)
        return True

    def _wanting(self, notice: Notice) -> list[WebhookEndpoint]:
        return self._endpoints.wanting(notice.tenant, notice.event, at=notice.at)

    async def _tell(self, notice: Notice) -> None:
        wanting = self._wanting(notice)
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


def _waited_long(looks: int, subject: str) -> bool:
    """Whether to tell an end without the table's word.

    Raises:
        Busy: not yet; look again.
    """
    if looks > _PATIENCE:
        log.warning("webhook.end_unconfirmed", subject=subject)
        return True
    raise Busy(
        "the table does not have an end yet; its webhooks wait for the recorder",
        retry_after_s=min(_BEHIND_S * looks, _LONGEST_S),
    )
