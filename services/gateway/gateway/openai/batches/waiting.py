"""Batches that wait for their turn: those that are called back or out of time need none.

The lanes start a batch when its tenant has room. Until then its record lies in their window; what
has ended already is taken out of it, and ended without any line being run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final, Protocol

import structlog
from penstock_contracts.batches import BatchRequest
from penstock_contracts.codec import decode_model
from penstock_contracts.dead import DeadReason
from penstock_contracts.envelope import decode_event
from penstock_contracts.errors import ContractError
from penstock_kit.clock import Clock
from penstock_kit.ending import end_tasks
from penstock_kit.errors import Busy, Rejected, Retryable
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.outcomes import Dead, Delivery, Done

from gateway.openai.batches.handler import Cancels
from gateway.openai.files.ids import BATCH_PREFIX, job_form

__all__ = ["WaitingBatches", "WaitingRecords"]

log = structlog.get_logger(__name__)

_EVERY: Final = timedelta(seconds=2)
"""Between two looks at the clock, and at records that were read after their cancel."""
_AFTER_LOOK_S: Final = 0.05
"""Cancels come in crowds, most of them of other jobs: those of this time share the next look."""
_PAUSE_S: Final = 1.0
_AT_ONCE: Final = 8
"""Batches that are ended at once: one that is out of time is read to its last line for that."""


class WaitingRecords(Protocol):
    """The lanes, as far as taking records out needs them."""

    async def withdraw(self, match: Callable[[Record], bool]) -> list[Delivery]:
        """Take waiting records out."""
        ...

    def finish(self, delivery: Delivery, outcome: Done | Dead) -> None:
        """End one that was taken out."""
        ...


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
        self._records = records
        self._handler = handler
        self._cancels = cancels
        self._clock = clock
        self._every_s = every.total_seconds()
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._ending: set[asyncio.Task[None]] = set()
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
            await end_tasks(self._looking, *self._ending)
            self._looking = None

    async def _look(self) -> None:
        for delivery in await self._records.withdraw(self._is_over):
            task = asyncio.create_task(self._end(delivery), name="end a waiting batch")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _is_over(self, record: Record) -> bool:
        try:
            _, data = decode_event(record.headers, record.value)
            request = decode_model(BatchRequest, data)
        except ContractError:
            return False  # its turn comes, and then it is dead-lettered
        job = job_form(BATCH_PREFIX, request.id)
        is_cancelled = self._cancels.is_cancelled(job, request.tenant)
        return is_cancelled or self._clock.now() >= request.expires_at

    async def _end(self, delivery: Delivery) -> None:
        async with self._places:
            self._records.finish(delivery, await self._ended(delivery))

    async def _ended(self, delivery: Delivery) -> Done | Dead:
        while True:
            try:
                return await self._handler(delivery)
            except Rejected as error:
                return Dead(DeadReason.POISON, error.code, str(error))
            except (Busy, Retryable) as error:
                pause_s = error.retry_after_s or _PAUSE_S
            except Exception:  # the loop's edge; the handler gives up after some of these
                log.exception("batch.not_ended")
                pause_s = _PAUSE_S
                delivery = replace(delivery, failures=delivery.failures + 1)
            await asyncio.sleep(pause_s)

    async def _look_for_ever(self) -> None:
        while True:
            self._is_called.clear()
            try:
                await self._look()
            except Exception:  # the loop's edge: one bad turn must not keep batches waiting
                log.exception("batches.look_failed")
            await asyncio.sleep(_AFTER_LOOK_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await self._is_called.wait()
