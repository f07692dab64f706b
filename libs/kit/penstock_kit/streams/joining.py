"""Gap-free streams: what was missed, from Redis and the ring, then live events, in one order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from penstock_contracts.events import Position
from penstock_contracts.snapshot import Snapshot

from penstock_kit.jobs.folding import FOLD_PAUSES_S
from penstock_kit.jobs.view import JobTable
from penstock_kit.streams.history import START, follows
from penstock_kit.streams.past import Opening, Past
from penstock_kit.streams.snapshots import lost_at
from penstock_kit.tail.hub import LiveEvents, Subscription
from penstock_kit.tail.tailed import TailedEvent
from penstock_kit.tenancy import TenantScope

__all__ = ["JobStreams", "Joined", "StreamSink"]

log = structlog.get_logger(__name__)

StreamSink = Callable[[TailedEvent | Snapshot], None]
"""Takes what comes next, on the event loop, without waiting. A `Snapshot` here means that events
were lost on the way: it replaces all output so far, and events after its position follow."""

_MAX_BUFFER: Final = 10_000
"""Live events kept while the past is read; more of them and the past is read again."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A stream from a place on.

    Attributes:
        recovered: nothing between the place asked for and `position` is missing. False: `snapshot`
            replaces what the reader had, and if it holds no output, the output before `position` is
            not to be had any more (a `completed` event still brings all of it).
        snapshot: everything up to `position`; None where `backlog` goes on from the place asked
            for.
        position: the place after which events follow, `backlog` first.
        backlog: events that were missed, in order; the sink gets what comes after them.
        close: end the stream; works twice. After a terminal event it has ended by itself.
        is_over: the job has ended in what is here or before: the sink gets nothing.
    """

    recovered: bool
    snapshot: Snapshot | None
    position: Position
    backlog: list[TailedEvent]
    close: Callable[[], None]
    is_over: bool = False


class JobStreams:
    """Makes streams. A Part: `stop` ends all of them."""

    def __init__(
        self,
        live: LiveEvents,
        table: JobTable,
        *,
        lag_pauses_s: Sequence[float] = FOLD_PAUSES_S,
    ) -> None:
        self._live = live
        self._past = Past(live, table, lag_pauses_s=lag_pauses_s)
        self._streams: set[_Stream] = set()

    async def start(self) -> None:
        """Nothing to wait for: streams are made on demand."""

    async def stop(self) -> None:
        """End every stream; works twice and unstarted."""
        for stream in tuple(self._streams):
            stream.close()

    async def join(
        self, scope: TenantScope, job: str, after: Position | None, sink: StreamSink
    ) -> Joined:
        """A job's stream after a place, or with a snapshot of all so far if `after` is None.

        Events that come while this runs are in the backlog; the sink is called from the caller's
        next wait on. It gets each event once, in order, up to and with the terminal event that
        counts, none of an attempt that a later one has replaced, and none of another tenant. A job
        of which nothing is known yet gives an empty stream: the caller checks ids (`JobIds`). If
        Redis is away the ring alone decides, and what it cannot prove is `recovered=False`.
        """
        stream = _Stream(self._live, self._past, scope, job, sink, on_close=self._streams.discard)
        self._streams.add(stream)
        try:
            return await stream.open(after)
        except BaseException:
            stream.close()
            raise

    async def join_whole(self, scope: TenantScope, job: str, sink: StreamSink) -> Joined:
        """A job's stream from its begin: everything that is kept is in the backlog.

        Older deltas in it may be merged; such an event has `pieces`. Where its begin is no longer
        kept, `snapshot` stands for it and `recovered` is False. Else as `join`.
        """
        stream = _Stream(self._live, self._past, scope, job, sink, on_close=self._streams.discard)
        self._streams.add(stream)
        try:
            return await stream.open_whole()
        except BaseException:
            stream.close()
            raise

    def begin(self, scope: TenantScope, job: str, sink: StreamSink) -> Joined:
        """The stream of a job that is not written yet: nothing has to be read, all is to come."""
        stream = _Stream(self._live, self._past, scope, job, sink, on_close=self._streams.discard)
        self._streams.add(stream)
        stream.open_new()
        return Joined(recovered=True, snapshot=None, position=START, backlog=[], close=stream.close)

    @property
    def open_streams(self) -> int:
        """How many streams have not ended, for metrics."""
        return len(self._streams)


class _Stream:
    """One reader of one job: buffers while the past is read, then hands on, and mends gaps."""

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_job",
        "_mending",
        "_on_close",
        "_past",
        "_place",
        "_scope",
        "_sink",
        "_subscription",
    )  # fmt: skip

    def __init__(
        self,
        live: LiveEvents,
        past: Past,
        scope: TenantScope,
        job: str,
        sink: StreamSink,
        *,
        on_close: Callable[[_Stream], None],
    ) -> None:
        self._past = past
        self._scope = scope
        self._job = job
        self._sink = sink
        self._on_close = on_close
        self._buffer: list[TailedEvent] | None = []
        self._place = START
        self._mending: asyncio.Task[None] | None = None
        self._subscription: Subscription = live.subscribe(scope, job, self._on_event)

    async def open(self, after: Position | None) -> Joined:
        return self._joined(
            await self._settle(lambda: self._past.read(self._scope, self._job, after))
        )

    async def open_whole(self) -> Joined:
        return self._joined(
            await self._settle(lambda: self._past.read_whole(self._scope, self._job))
        )

    def _joined(self, opening: Opening) -> Joined:
        return Joined(
            opening.recovered,
            opening.snapshot,
            opening.position,
            opening.backlog,
            self.close,
            is_over=opening.is_over,
        )

    def open_new(self) -> None:
        self._buffer = None

    def close(self) -> None:
        self._end()
        self._sink = _ignore
        if self._mending is not None and self._mending is not _current_task():
            self._mending.cancel()

    def _end(self) -> None:
        self._subscription.close()
        self._buffer = None
        self._on_close(self)

    async def _settle(self, read: Callable[[], Awaitable[Opening]]) -> Opening:
        """Read the past until it meets the present; no wait between that and going live."""
        while True:
            opening = await read()
            buffer = self._buffer or []
            if len(buffer) < _MAX_BUFFER and self._append(opening, buffer):
                break
            self._buffer = []
        self._buffer = None
        self._place = opening.last
        if opening.is_over:
            self._end()
        return opening

    def _append(self, opening: Opening, buffer: Sequence[TailedEvent]) -> bool:
        """Add what came meanwhile to the backlog; False if a gap is between past and present."""
        for event in buffer:
            if opening.is_over:
                break
            if follows(opening.last, event.position):
                opening.backlog.append(event)
            elif event.position > opening.last:
                return False
        return True

    def _on_event(self, event: TailedEvent) -> None:
        if self._buffer is not None:
            if len(self._buffer) < _MAX_BUFFER:
                self._buffer.append(event)
            return
        place = self._place
        position = event.position
        # The common case by hand, once per event and reader: the next one of the same attempt.
        is_next = position.attempt == place.attempt and position.seq == place.seq + 1
        if is_next or follows(place, position):
            self._place = position
            if event.is_terminal:
                self._end()
            self._sink(event)
        elif position > place:
            self._buffer = [event]
            self._mending = asyncio.create_task(self._mend(), name=f"mend {self._job}")

    async def _mend(self) -> None:
        """Events were lost on the way here: read the past again; say so if that does not help."""
        after = self._place
        log.warning("stream.gap", job=self._job, after=str(after))
        try:
            opening = await self._settle(lambda: self._past.read(self._scope, self._job, after))
        except Exception:
            # The reader must not wait for ever: it is told that its place is lost, and goes on from
            # here.
            log.exception("stream.mend_failed", job=self._job)
            self._place = self._buffer[-1].position if self._buffer else after
            self._buffer = None
            opening = Opening(self._place, lost_at(self._job, self._place), recovered=False)
        if opening.snapshot is not None:
            self._sink(opening.snapshot)
        for event in opening.backlog:
            self._sink(event)


def _ignore(_: TailedEvent | Snapshot) -> None:
    """The sink of a closed stream."""


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # a sink may be called outside of any task
        return None
