"""The events of one job for one reader, who may be slow: what it misses comes as a snapshot."""

from __future__ import annotations

from dataclasses import dataclass

from penstock_contracts.events import TERMINAL, Position
from penstock_contracts.snapshot import Snapshot
from penstock_kit.tenancy import TenantScope

from gateway.mailbox import Closing, Mailbox
from gateway.ports import JoinedStream, StreamEvent, Streams

__all__ = ["Feed", "FeedLimits", "SnapshotItem", "is_end"]

_START = Position(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedLimits:
    """How much may wait for a reader before it gets a snapshot instead."""

    max_events: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class SnapshotItem:
    """Stands for all events up to its position: it replaces the output of the attempt so far.

    Attributes:
        recovered: False: if it holds no output, there may have been some that is no longer kept.
    """

    snapshot: Snapshot
    recovered: bool = True
    type: str = "snapshot"
    value: bytes = b""

    @property
    def position(self) -> Position:
        """The last place that it covers."""
        return self.snapshot.position


class Feed:
    """A job's stream, taken batch by batch. `close` must be called; it works twice.

    No reader is cut off for being slow: what did not fit is read again where the reader is.
    Without deltas a reader is woken by what changes the job's state alone.
    """

    def __init__(
        self,
        streams: Streams,
        scope: TenantScope,
        job: str,
        *,
        limits: FeedLimits,
        with_deltas: bool,
    ) -> None:
        self._streams = streams
        self._scope = scope
        self._job = job
        self._limits = limits
        self._with_deltas = with_deltas
        self._joined: JoinedStream | None = None
        self._stopped: str | None = None
        self._mailbox = self._new_mailbox()
        self._place = _START
        self._first: list[StreamEvent | SnapshotItem] = []

    def begin(self) -> None:
        """For a job that is not written yet."""
        self._joined = self._streams.begin(self._scope, self._job, self._sink())

    async def join(self, after: Position | None) -> None:
        """For a job that may run or be over: what came after a place, None: a snapshot of all."""
        self._begin_with(await self._streams.join(self._scope, self._job, after, self._sink()))

    async def join_whole(self) -> None:
        """For a job that may run or be over: all that is kept from its begin on, as events."""
        self._begin_with(await self._streams.join_whole(self._scope, self._job, self._sink()))

    def _begin_with(self, joined: JoinedStream) -> None:
        self._joined = joined
        first: list[StreamEvent | SnapshotItem] = [*joined.backlog]
        if joined.snapshot is not None:
            first.insert(0, SnapshotItem(joined.snapshot, recovered=joined.recovered))
        self._first = first

    async def take(self, timeout_s: float) -> list[StreamEvent | SnapshotItem]:
        """What has come, in order; nothing after the time-out.

        Raises:
            Closing: `stop` was called.
        """
        if not self._first:
            try:
                items: list[StreamEvent | SnapshotItem] = [*await self._mailbox.take(timeout_s)]
            except Closing as closing:
                if closing.reason != "overflow":
                    raise
                await self._rejoin()
                items, self._first = self._first, []
        else:
            items, self._first = self._first, []
        if items:
            self._place = items[-1].position
        return items

    def stop(self, reason: str) -> None:
        """Let the reader go: its next `take` raises."""
        self._stopped = reason
        self._mailbox.close(reason)

    def close(self) -> None:
        """Leave the tail."""
        self._mailbox.discard()
        if self._joined is not None:
            self._joined.close()

    async def _rejoin(self) -> None:
        self.close()
        self._mailbox = self._new_mailbox()
        await self.join(self._place)

    def _new_mailbox(self) -> Mailbox:
        mailbox = Mailbox(max_events=self._limits.max_events, max_bytes=self._limits.max_bytes)
        if self._stopped is not None:
            mailbox.close(self._stopped)
        return mailbox

    def _sink(self) -> _Sink:
        return _Sink(self._mailbox, with_deltas=self._with_deltas)


class _Sink:
    __slots__ = ("_mailbox", "_with_deltas")

    def __init__(self, mailbox: Mailbox, *, with_deltas: bool) -> None:
        self._mailbox = mailbox
        self._with_deltas = with_deltas

    def __call__(self, item: StreamEvent | Snapshot) -> None:
        if not self._with_deltas and item.type == "delta":
            return  # whoever waits for the end is not woken for every token
        if isinstance(item, Snapshot):
            item = SnapshotItem(item, recovered=False)  # so streams say that events were lost
        self._mailbox.put(item)


def is_end(item: StreamEvent | SnapshotItem) -> bool:
    """Whether the job is over with it."""
    if isinstance(item, SnapshotItem):
        return item.snapshot.status.is_terminal
    return item.type in TERMINAL
