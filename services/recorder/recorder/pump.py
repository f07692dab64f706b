"""Polls Kafka in a thread of its own and commits what the table and the state topic have."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog
from penstock_kit.clock import Clock
from penstock_kit.ending import end_tasks
from penstock_kit.errors import Fatal, Retryable
from penstock_kit.kafka.ports import Assignment, Consumer, Record, TopicPartition

from recorder.pulse import Pulse

__all__ = ["Pump"]

log = structlog.get_logger(__name__)

_MAX_RECORDS = 1_000
"""Per batch: some milliseconds of folding, so that a late batch does not delay the next one
much."""
_POLL_S = 0.2
"""Longest wait for a record; they end the wait at once. Bounds how late a stop or commit is
noticed."""
_MANY_RECORDS = 50
_GATHER_S = 0.1
"""A batch with so many records waits so much longer for more: what a busy moment tells of a job is
then folded at once, and the table is no later than the jobs of such a moment are."""
_COMMIT_INTERVAL_S = 0.25
_MAX_UNPUBLISHED = 16
"""Batches that may wait for their acknowledgements; then polling pauses."""
_STOP_S = 15.0
_GIVE_UP_S = 2.0
"""The same where no broker answers anyway: nothing can be committed, and the group will notice."""
_JOIN_S = 15.0
"""After this long without partitions we are a spare, not late."""
_WATCH_S = 1.0

Take = Callable[[Sequence[Record]], Awaitable["asyncio.Task[None]"]]


@dataclass(slots=True)
class _Batch:
    epoch: int
    offsets: dict[TopicPartition, int]
    publishing: asyncio.Task[None]


class Pump:
    """A Part: `take` gets batches in order, one at a time.

    While it waits, partitions are paused and the membership stays alive.
    """

    def __init__(
        self,
        consumer: Callable[[], Consumer],
        *,
        topics: Sequence[str],
        take: Take,
        clock: Clock,
        on_fatal: Callable[[Fatal], None],
    ) -> None:
        self._make_consumer = consumer
        self._topics = list(topics)
        self._take = take
        self._clock = clock
        self._on_fatal = on_fatal
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = threading.Event()
        self._epoch = 0
        self._owned: dict[TopicPartition, int] = {}
        self._unpublished: deque[_Batch] = deque()
        self._done: dict[TopicPartition, int] = {}
        self._committed_at = 0.0
        self._began_at = clock.monotonic()
        self._pulse = Pulse(clock)
        self._watching: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> str | None:
        """Why no records come, or None; a member may go without while others have them all."""
        if not self._owned and self._clock.monotonic() - self._began_at < _JOIN_S:
            return "the consumer group has not assigned partitions yet; wait a moment"
        return self._pulse.trouble()

    async def start(self) -> None:
        """Join the group; return when the thread polls."""
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="recorder poll", daemon=True)
            self._pulse.beat()
            self._thread.start()
            self._watching = asyncio.create_task(self._watch(), name="recorder watch")

    async def stop(self) -> None:
        """Finish the batch in hand, commit, leave the group."""
        self._stopping.set()
        if self._thread is not None:
            limit_s = _GIVE_UP_S if self._pulse.is_unheard else _STOP_S
            await asyncio.to_thread(self._thread.join, limit_s)
            self._thread = None
        if self._watching is not None:
            await end_tasks(self._watching)
            self._watching = None

    async def _watch(self) -> None:
        while (sentence := self._pulse.beyond_repair()) is None:  # noqa: ASYNC110 - silence has no event
            await asyncio.sleep(_WATCH_S)
        if not self._stopping.is_set():
            self._on_fatal(Fatal(sentence))

    def _run(self) -> None:
        try:
            consumer = self._make_consumer()
            self._pulse.listen(consumer)
            consumer.subscribe(self._topics, lambda change: self._on_change(consumer, change))
            try:
                self._pump(consumer)
                self._finish(consumer)
            finally:
                consumer.close()
        except Fatal as error:
            self._fail(error)
        except Exception as error:
            log.exception("pump.failed")
            self._fail(Fatal(f"the poll thread died of {type(error).__name__}; see the log"))

    def _pump(self, consumer: Consumer) -> None:
        try:
            while not self._stopping.is_set():
                self._step(consumer)
        except _StoppedWaitingError:
            log.info("batch.left", reason="Redis did not answer; the next owner reads it again")

    def _fail(self, error: Fatal) -> None:
        assert self._loop is not None
        if not self._stopping.is_set():
            self._loop.call_soon_threadsafe(self._on_fatal, error)

    def _step(self, consumer: Consumer) -> None:
        records = self._poll(consumer, _POLL_S)
        if len(records) >= _MANY_RECORDS:
            records += self._gather(consumer, len(records))
        while records:
            records = self._fold(consumer, records)
        self._commit_now_and_then(consumer)

    def _poll(self, consumer: Consumer, timeout_s: float, most: int = _MAX_RECORDS) -> list[Record]:
        self._pulse.beat()
        return consumer.poll(timeout_s, most)

    def _gather(self, consumer: Consumer, count: int) -> list[Record]:
        """What else comes within the pause, up to a whole batch."""
        gathered: list[Record] = []
        until = self._clock.monotonic() + _GATHER_S
        while (left := _MAX_RECORDS - count - len(gathered)) > 0:
            rest_s = until - self._clock.monotonic()
            if rest_s <= 0:
                break
            gathered += self._poll(consumer, rest_s, left)
        return gathered

    def _fold(self, consumer: Consumer, records: list[Record]) -> list[Record]:
        """Fold a batch; what came in while partitions were being paused is the next one."""
        assert self._loop is not None
        offsets = {record.place: record.offset + 1 for record in records}
        folding = asyncio.run_coroutine_threadsafe(self._take_one(records), self._loop)
        carried = self._await_alive(consumer, folding)
        self._unpublished.append(_Batch(self._epoch, offsets, folding.result()))
        while len(self._unpublished) > _MAX_UNPUBLISHED and not self._stopping.is_set():
            oldest = self._unpublished[0].publishing
            acking = asyncio.run_coroutine_threadsafe(_over(oldest), self._loop)
            carried += self._await_alive(consumer, acking)
            self._collect()
            if self._is_broken():
                raise _StoppedWaitingError
        return carried

    async def _take_one(self, records: Sequence[Record]) -> asyncio.Task[None]:
        return await self._take(records)

    def _await_alive(self, consumer: Consumer, future: Future[Any]) -> list[Record]:
        """Wait, and stay a member of the group meanwhile; records that slip through come back."""
        carried: list[Record] = []
        try:
            future.result(_POLL_S)
        except TimeoutError:
            pass
        else:
            return carried
        while not future.done():
            if self._stopping.is_set():
                future.cancel()
                raise _StoppedWaitingError
            consumer.pause(list(self._owned))
            carried += self._poll(consumer, 0.05)
            self._commit_now_and_then(consumer)
        consumer.resume(list(self._owned))
        return carried

    def _collect(self) -> None:
        """Note the offsets of batches that are published, in order."""
        while self._unpublished and self._unpublished[0].publishing.done():
            batch = self._unpublished[0]
            if batch.publishing.cancelled() or batch.publishing.exception() is not None:
                return  # fatal: nothing behind it may be committed; the process ends
            self._unpublished.popleft()
            for place, offset in batch.offsets.items():
                if batch.epoch >= self._owned.get(place, batch.epoch + 1):
                    self._done[place] = offset

    def _commit_now_and_then(self, consumer: Consumer) -> None:
        now = self._clock.monotonic()
        if now - self._committed_at < _COMMIT_INTERVAL_S:
            return
        self._committed_at = now
        self._commit(consumer, set(self._owned), wait=False)

    def _commit(self, consumer: Consumer, places: set[TopicPartition], *, wait: bool) -> None:
        self._collect()
        offsets = {place: self._done.pop(place) for place in places if place in self._done}
        if not offsets:
            return
        try:
            consumer.commit(offsets, wait=wait)
        except Retryable as error:
            log.warning("commit.refused", error=str(error))
            for place, offset in offsets.items():
                self._done.setdefault(place, offset)

    def _on_change(self, consumer: Consumer, change: Assignment) -> None:
        if change.revoked and not change.lost:
            self._commit(consumer, set(change.revoked), wait=True)
        self._epoch = change.epoch
        for place in change.revoked:
            self._done.pop(place, None)
            self._owned.pop(place, None)
        self._owned.update(dict.fromkeys(change.added, change.epoch))

    def _finish(self, consumer: Consumer) -> None:
        deadline = self._clock.monotonic() + _STOP_S / 3
        while self._unpublished and not self._is_broken() and self._clock.monotonic() < deadline:
            self._poll_paused(consumer)
            self._collect()
        self._commit(consumer, set(self._owned), wait=True)

    def _is_broken(self) -> bool:
        """Whether the oldest batch could not be published: the service is told, and ends."""
        if not self._unpublished:
            return False
        task = self._unpublished[0].publishing
        return task.done() and (task.cancelled() or task.exception() is not None)

    def _poll_paused(self, consumer: Consumer) -> None:
        consumer.pause(list(self._owned))
        self._poll(consumer, 0.02)


class _StoppedWaitingError(Exception):
    """The process stops while a batch could not be folded: it is read again by the next owner."""


async def _over(task: asyncio.Task[None]) -> None:
    await asyncio.wait({task})
