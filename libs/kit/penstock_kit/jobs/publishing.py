"""Writes `ai.jobs.state.v1`, so that its newest record of a job is the job's newest version."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from penstock_kit.clock import Clock
from penstock_kit.errors import Busy, Retryable
from penstock_kit.jobs.fold import Changed, JobFold
from penstock_kit.jobs.patches import JobPatch, join_patches
from penstock_kit.jobs.request_records import request_record
from penstock_kit.jobs.state_records import state_record
from penstock_kit.kafka.ports import Ack, OutRecord, Producer, RecordRefused

__all__ = ["StatePublisher"]

log = structlog.get_logger(__name__)

_PAUSE_S = 0.2
"""Between tries while broker or Redis is away."""


class StatePublisher:
    """Publishes until everything is acknowledged.

    Two recorders may publish versions of one job at once, and the older may come to lie behind the
    newer. So the table notes which version has the highest offset, and hands out the newest again
    where that is not it.
    """

    def __init__(self, producer: Producer, fold: JobFold, clock: Clock) -> None:
        self._producer = producer
        self._fold = fold
        self._clock = clock

    async def publish(self, changed: Sequence[Changed]) -> int:
        """Return when the state topic has the newest version of these; how many records it took.

        Waits out an absent broker or Redis.

        Raises:
            BrokerFault: the producer is beyond repair.
        """
        count = 0
        while changed:
            acks = await asyncio.gather(*(self._write(change) for change in changed))
            written = [
                (change, ack.offset)
                for change, ack in zip(changed, acks, strict=True)
                if ack is not None
            ]
            count += len(written)
            changed = await self._note(written)
        return count

    async def keep_requests(self, patches: Sequence[JobPatch]) -> int:
        """Return when the state topic has what these tell of kept requests; how many records.

        Waits out an absent broker.

        Raises:
            BrokerFault: the producer is beyond repair.
        """
        now = self._clock.now()
        found = [(patch.job, request_record(patch, now=now)) for patch in join_patches(patches)]
        writes = [self._send(job, record) for job, record in found if record is not None]
        await asyncio.gather(*writes)
        return len(writes)

    async def _write(self, change: Changed) -> Ack | None:
        return await self._send(change.job, state_record(change, now=self._clock.now()))

    async def _send(self, job: str, record: OutRecord) -> Ack | None:
        while True:
            try:
                return await self._producer.send(record)
            except RecordRefused as error:
                log.error("state.refused", job=job, code=error.code)  # noqa: TRY400 - foreseen
                return None
            except (Retryable, Busy) as error:
                log.warning("state.delayed", job=job, error=str(error))
                await asyncio.sleep(_PAUSE_S)

    async def _note(self, written: Sequence[tuple[Changed, int]]) -> list[Changed]:
        while True:
            try:
                return await self._fold.published(written)
            except Busy:
                await asyncio.sleep(_PAUSE_S)
