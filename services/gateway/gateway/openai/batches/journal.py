"""What a running batch says of itself: states, and an event for every line, into the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Literal, Protocol

import structlog
from penstock_contracts.batches import (
    BatchChanged,
    BatchCounts,
    BatchLineEnded,
    BatchState,
    BatchStatus,
    BatchUsage,
)
from penstock_contracts.codec import decode_model
from penstock_kit.batches.events import BatchEvents
from penstock_kit.batches.lease import BatchHeld, Confirm
from penstock_kit.batches.records import batch_record, event_record, shelved_batch
from penstock_kit.batches.shelf import Shelf
from penstock_kit.clock import Clock
from penstock_kit.errors import Busy, Retryable
from penstock_kit.jobs.view import TableAway
from penstock_kit.kafka.bursts import Bursts
from penstock_kit.kafka.ports import OutRecord, Producer, ProducerFull
from penstock_kit.tenancy import TenantScope

__all__ = ["Folded", "Journal", "LineNews"]

log = structlog.get_logger(__name__)

_PAUSE_S = 1.0
_LINES_PAUSE = timedelta(milliseconds=50)
"""Between two bursts of lines' ends: who follows a batch hears of each so late."""
_LOOK_EVERY_S = 0.2
_BEHIND_S = 60.0
"""A recorder is a second late, or away: then a batch that was taken over does not wait for it."""
_MOST_HELD = 1_000
"""Ends that wait for room in the producer; beyond, lines keep their places, so no more begin."""
_EVENT_OF: dict[BatchStatus, str] = {
    status: f"batch.{status.value}"
    for status in BatchStatus
    if status is not BatchStatus.VALIDATING
}


async def _at_once() -> None:
    """Nothing to do before."""


class Folded(Protocol):
    """How far the view of batches' events is; see `penstock_kit.jobs.coverage.Coverage`."""

    async def covers(self, since: float) -> bool:
        """Whether it has all that the log held at that time of the loop."""
        ...


LineNews = tuple[int, str, str | None, int | None, str | None]
"""Line, custom_id, job, status code, and what went wrong (None: nothing)."""


class Journal:
    """Writes for one batch. Versions and numbers go on where an earlier run left off."""

    def __init__(
        self,
        state: BatchState,
        *,
        producer: Producer,
        shelf: Shelf,
        events: BatchEvents,
        clock: Clock,
        folded: Folded,
        confirm: Confirm,
    ) -> None:
        """`confirm` is asked before each state is written."""
        self.state = state
        self._producer = producer
        self._lines = Bursts(producer, pause=_LINES_PAUSE)
        self._shelf = shelf
        self._events = events
        self._clock = clock
        self._folded = folded
        self._confirm = confirm
        self._number = 0
        self._told: set[int] = set()
        self._seen = state.counts.completed + state.counts.failed

    async def recall(self) -> None:
        """Find out what was told already, so that no line is told twice.

        Raises:
            TableAway: Redis does not answer.
            Retryable: the log does not.
        """
        if self.state.version > 1:
            await self._until_folded()
        request = self.state.request
        scope, after = TenantScope(request.tenant), -1
        while events := await self._events.read(scope, request.id, after=after):
            for event in events:
                if event.type.startswith("batch.line."):
                    self._told.add(BatchLineEnded.model_validate_json(event.value).line)
            after = events[-1].number
        self._number = after + 1

    async def _until_folded(self) -> None:
        """An earlier run may have told what its view lacks yet; a number is given once."""
        clock = asyncio.get_running_loop().time
        since = clock()
        while not await self._folded.covers(since):
            if clock() - since >= _BEHIND_S:
                log.warning("batch.events_behind", batch=self.state.request.id)
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def change(self, status: BatchStatus, **known: Any) -> None:
        """Enter a state: written, acknowledged, shown, told. Waits as long as the log is away.

        Raises:
            BatchHeld: another gateway goes on with the batch; say nothing more.
        """
        await self._write(status=status, **known)
        while True:
            await self._hold_at_most(0)
            record = self._changed(status)
            try:
                await self._producer.send(record)
            except ProducerFull:
                self._number -= 1  # refused at once: nobody has taken the next number yet
                await asyncio.sleep(_PAUSE_S)
                continue
            except Retryable:
                await self._send(record)  # the log may have it: the same number again
            return

    async def note(self, counts: BatchCounts, usage: BatchUsage) -> None:
        """Keep the counts, if there is news. A run that goes over old lines again says nothing.

        Raises:
            BatchHeld: as `change`.
        """
        done = counts.completed + counts.failed
        if done <= self._seen:
            return
        self._seen = done
        await self._write(counts=counts, usage=usage)

    async def tell(self, news: LineNews, counts: BatchCounts) -> None:
        """A line has ended; told once. Waits while so many are held that the log must be away."""
        line, custom_id, job, status_code, code = news
        if line in self._told:
            return
        self._told.add(line)
        kind: Literal["batch.line.completed", "batch.line.failed"] = (
            "batch.line.completed" if code is None else "batch.line.failed"
        )
        event = BatchLineEnded.model_construct(
            type=kind,
            batch=self.state.request.id,
            sequence_number=self._next(),
            at=self._clock.now(),
            counts=counts,
            line=line,
            custom_id=custom_id,
            job=job,
            status_code=status_code,
            code=code,
        )
        self._lines.tell(event_record(self.state.request, event))
        await self._hold_at_most(_MOST_HELD)

    def drop(self) -> None:
        """Say nothing more: the next run, which may be under way, tells what this one has not."""
        self._lines.drop()

    def _changed(self, status: BatchStatus) -> OutRecord:
        kind: Any = _EVENT_OF[status]
        event = BatchChanged(
            type=kind,
            batch=self.state.request.id,
            sequence_number=self._next(),
            at=self._clock.now(),
            counts=self.state.counts,
            output_file_id=self.state.output_file_id,
            error_file_id=self.state.error_file_id,
        )
        return event_record(self.state.request, event)

    async def _hold_at_most(self, count: int) -> None:
        while self._lines.held > count:
            if not self._lines.flush():
                await asyncio.sleep(_PAUSE_S)

    async def _write(self, **known: Any) -> None:
        update = {**known, "version": self.state.version + 1}
        self.state = self.state.model_copy(update=update)
        await self._send(
            batch_record(self.state, self._clock.now()), beforehand=self.require_newest
        )
        try:
            if not await self._shelf.put(shelved_batch(self.state)):
                await self.require_newest()
        except TableAway:
            log.debug("batch.shown_later", batch=self.state.request.id)

    async def require_newest(self) -> None:
        """Leave the batch to whoever has come further; who was frozen is the last to know.

        The lease alone does not tell, for whoever had it may be through with the batch. While
        Redis is away nobody takes a batch over.

        Raises:
            BatchHeld: another gateway has the lease, or has written what this one has not.
        """
        request, ours = self.state.request, shelved_batch(self.state)
        try:
            await self._confirm()
            known = await self._shelf.get(ours.scope, request.id)
        except TableAway:
            return
        if known is None or known == ours.value:
            return
        if decode_model(BatchState, known).version >= ours.version:
            raise BatchHeld(f"another gateway has written a newer state of {request.id}")

    async def _send(
        self, record: OutRecord, *, beforehand: Callable[[], Awaitable[None]] = _at_once
    ) -> None:
        """Nothing of a batch can go on without the log, so this waits for it."""
        while True:
            await beforehand()
            try:
                await self._producer.send(record)
            except (Busy, Retryable) as error:
                log.warning("batch.log_away", batch=self.state.request.id, error=str(error))
                await asyncio.sleep(_PAUSE_S)
            else:
                return

    def _next(self) -> int:
        self._number += 1
        return self._number - 1
