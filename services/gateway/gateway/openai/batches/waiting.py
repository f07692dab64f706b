"""Batches that wait for their turn: those that are called back or out of time need none.

The lanes start a batch when its tenant has room. Until then its record lies in their window; what
has ended already is taken out of it, and ended without any line being run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog
from penstock_contracts.batches import BatchRequest
from penstock_contracts.codec import decode_model
from penstock_contracts.envelope import decode_event
from penstock_contracts.errors import ContractError
from penstock_kit.clock import Clock
from penstock_kit.ending import end_tasks
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.early_ends import EarlyEnds, WaitingRecords
from penstock_kit.lanes.outcomes import Delivery, Done

from gateway.openai.batches.handler import Cancels
from gateway.openai.files.ids import BATCH_PREFIX, job_form

__all__ = ["WaitingBatches"]

log = structlog.get_logger(__name__)

_EVERY: Final = timedelta(seconds=2)
"""Between two looks at the clock, and at records that were read after their cancel."""
_AFTER_LOOK_S: Final = 0.05
"""Cancels come in crowds, most of them of other jobs: those of this time share the next look."""
_AT_ONCE: Final = 8
"""Batches that are ended at once: one that is out of time is read to its last line for that."""


class WaitingBatches:
    """A Part. The handler finds the cancel, or the clock, and ends the batch."""

    def __init__(
        self,
        records: WaitingRecords,
        handler: Callable[[Delivery], Awaitable[Done]],
        *,
        cancels: Cancels,
        clock: Clock,
        every: timedelta = _EVERY,
    ) -> None:
        self._ends = EarlyEnds(records, handler, at_once=_AT_ONCE)
        self._cancels = cancels
        self._clock = clock
        self._every_s = every.total_seconds()
        self._looking: asyncio.Task[None] | None = None
        self._is_called = asyncio.Event()
        cancels.on_cancel(lambda _cancel: self._is_called.set())

    async def start(self) -> None:
        """Begin."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_for_ever(), name="waiting batches")

    async def stop(self) -> None:
        """Let go of what is not ended yet; those records are delivered again."""
        if self._looking is not None:
            await end_tasks(self._looking)
            self._looking = None
        await self._ends.stop()

    def _is_over(self, record: Record) -> bool:
        try:
            _, data = decode_event(record.headers, record.value)
            request = decode_model(BatchRequest, data)
        except ContractError:
            return False  # its turn comes, and then it is dead-lettered
        job = job_form(BATCH_PREFIX, request.id)
        is_cancelled = self._cancels.is_cancelled(job, request.tenant)
        return is_cancelled or self._clock.now() >= request.expires_at

    async def _look_for_ever(self) -> None:
        while True:
            self._is_called.clear()
            try:
                await self._ends.end(self._is_over)
            except Exception:  # the loop's edge: one bad turn must not keep batches waiting
                log.exception("batches.look_failed")
            await asyncio.sleep(_AFTER_LOOK_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._is_called.wait()
