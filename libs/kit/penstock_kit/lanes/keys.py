"""Records of one key wait for each other; everything else of a partition hangs on its keys."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Container
from enum import Enum, auto
from typing import Final

from penstock_contracts.retries import RetryNote

from penstock_kit.kafka.ports import Record, TopicPartition
from penstock_kit.lanes.outcomes import Dead, Delivery, Retry
from penstock_kit.lanes.tenants import Share
from penstock_kit.lanes.tracker import OffsetTracker, Slot

__all__ = ["Entry", "KeyQueue", "KeyState", "Partition"]


_SPENT: Final = Record("", -1, -1, None, None)


class Entry(Slot):
    """A record in the window.

    Attributes:
        level: 0 high, 1 default, 2 low: of its topic, unless a rule demotes it.
        started_at: monotonic; when its handler began last.
        dropped_by: the rule that ends it instead of running it.
        counted: rules that count it while it runs.
        failures: tries that counted; `state` is what the last one left for the next.
        note: of a record that came by a retry topic.
        verdict: what becomes of it without a handler.
    """

    __slots__ = (
        "counted",
        "deliveries",
        "dropped_by",
        "failures",
        "level",
        "note",
        "queue",
        "record",
        "share",
        "started_at",
        "state",
        "verdict",
    )

    def __init__(self, record: Record, queue: KeyQueue, share: Share) -> None:
        super().__init__(record.offset, record.timestamp_ms)
        self.record = record
        self.queue = queue
        self.share = share
        self.level = queue.home
        self.deliveries = 0
        self.failures = 0
        self.started_at = 0.0
        self.dropped_by: str | None = None
        self.counted: tuple[str, ...] = ()
        self.state = b""
        self.note: RetryNote | None = None
        self.verdict: Dead | Retry | None = None

    def delivery(self) -> Delivery:
        """The record as its handler gets it."""
        partition = self.queue.partition
        return Delivery(
            self.record,
            partition.epoch,
            self.offset < partition.suspect_before,
            self.deliveries,
            self.failures,
            self.state,
            source=self.record.topic if self.note is None else self.note.source,
            dropped_by=self.dropped_by,
            note=self.note,
        )

    def let_go(self) -> None:
        """It is finished: only its place is needed until the records before it are."""
        self.record = _SPENT


class KeyState(Enum):
    """Where a key is."""

    IDLE = auto()
    """Nothing waits and nothing runs."""
    READY = auto()
    """In the scheduler, or held back by a rule or the suspect window."""
    BUSY = auto()
    """One record runs; the others wait behind it."""
    RESTING = auto()
    """The first record waits for its next try, or for a handler of an earlier assignment."""


class KeyQueue:
    """Waiting records of one key, oldest first.

    Attributes:
        since: when it became ready (monotonic).
        share: the tenant of the first record when it became ready, and `level` that record's level.
        home: the level of its topic, or of its source in a retry topic.
        heir: the same key under a later assignment: it goes on when the handler here has ended.
    """

    __slots__ = ("entries", "heir", "home", "key", "level", "partition", "share", "since", "state")

    def __init__(self, key: bytes | int, partition: Partition, share: Share, *, home: int) -> None:
        self.key = key
        self.partition = partition
        self.share = share
        self.home = self.level = home
        self.since = 0.0
        self.state = KeyState.IDLE
        self.entries: deque[Entry] = deque()
        self.heir: KeyQueue | None = None

    def withdraw(self, chosen: Container[Entry]) -> list[Entry]:
        """Take out those of them that wait, oldest first; a running record stays."""
        taken = [entry for entry in self.entries if entry in chosen]
        if taken:
            self.entries = deque(entry for entry in self.entries if entry not in chosen)
        for entry in taken:
            self.partition.take(entry)
        return taken


class Partition:
    """One partition under one assignment.

    The poll thread writes `handed`, `handed_bytes`, `end_offset`, `requested` and `acked`; the loop
    writes the rest. Each side only reads what the other writes, and all are plain numbers.

    Attributes:
        epoch: of the assignment; a part of the fence.
        level: 0 high, 1 default, 2 low; records of a retry topic have that of their source.
        is_retry: a partition of a retry topic.
        suspect_before: records below may have been begun by another process.
        handed: records given to the loop so far; `taken` of them have left the queues.
        finished_before: offsets beyond the committed one that the owner before us had finished.
        noted: finished records beyond the gap as of the last commit.
        requested: offset of the last commit; `acked`: what the broker is known to hold.
        running: handlers at work, including those that wait for a dead letter's acknowledgement.
        is_ours: False once revoked; what still runs then is finished but not committed.
    """

    __slots__ = (
        "_first",
        "_suspect_span",
        "acked",
        "end_offset",
        "epoch",
        "finished_before",
        "gated",
        "handed",
        "handed_bytes",
        "is_ours",
        "is_retry",
        "keys",
        "level",
        "noted",
        "place",
        "requested",
        "running",
        "suspect_before",
        "taken",
        "taken_bytes",
        "tracker",
    )

    def __init__(
        self,
        place: TopicPartition,
        *,
        epoch: int,
        committed: int,
        level: int,
        suspect_span: int,
        is_retry: bool = False,
        finished_before: frozenset[int] = frozenset(),
    ) -> None:
        self.place = place
        self.is_retry = is_retry
        self.epoch = epoch
        self.level = level
        self.finished_before = finished_before
        self.tracker = OffsetTracker(committed)
        self.requested = self.acked = committed
        self.noted = 0
        self._first = -1
        # A record that waits for another try has been begun before, wherever it lies.
        self.suspect_before = sys.maxsize if is_retry else -1
        self.handed = self.taken = 0
        self.handed_bytes = self.taken_bytes = 0
        self.end_offset = -1
        self.running = 0
        self.is_ours = True
        self.keys: dict[bytes | int, KeyQueue] = {}
        self.gated: list[KeyQueue] = []
        self._suspect_span = suspect_span

    @property
    def depth(self) -> int:
        """Records on their way to a handler."""
        return self.handed - self.taken

    @property
    def depth_bytes(self) -> int:
        """What those weigh."""
        return self.handed_bytes - self.taken_bytes

    @property
    def lag(self) -> int:
        """Records from the first unfinished one to the end of the log, as far as we know it."""
        return max(self.end_offset, self.tracker.end, 0) - max(self.tracker.position, 0)

    def note_first(self, offset: int) -> None:
        """The first record of the assignment fixes the suspect window."""
        if self._first < 0:
            self._first = offset
            self.suspect_before = offset + self._suspect_span

    def note_own_write(self, offset: int) -> None:
        """A record of ours under this assignment: what lies behind it nobody can have begun."""
        self.suspect_before = min(self.suspect_before, offset)

    def may_start(self, entry: Entry) -> bool:
        """Whether a successor would treat the record as suspect, if we died right now."""
        tracker = self.tracker
        first = self.acked if self.acked >= 0 else self._first
        if first >= tracker.position:
            oldest = tracker.oldest
            assert oldest is not None, "the entry itself is unfinished"
            first = oldest.offset
        return entry.offset < first + self._suspect_span

    def take(self, entry: Entry) -> None:
        """The record leaves the queues: to its handler, or withdrawn."""
        self.take_record(entry.record)

    def take_record(self, record: Record) -> None:
        """A record waits no longer."""
        self.taken += 1
        self.taken_bytes += record.size_bytes

    def pass_by(self, record: Record) -> None:
        """The owner before us had finished the record; whoever comes after us shall know it too."""
        slot = Slot(record.offset, record.timestamp_ms)
        self.tracker.begin(slot)
        self.tracker.finish(slot)
        self.take_record(record)

    def put_back(self, entry: Entry) -> None:
        """The record waits for its next try, before all others of its key."""
        self.taken -= 1
        self.taken_bytes -= entry.record.size_bytes
        entry.queue.entries.appendleft(entry)
        entry.queue.state = KeyState.RESTING

    def drop_queued(self) -> None:
        """Forget what waits; the next owner reads it again. Keys with a handler at work stay."""
        self.is_ours = False
        self.keys = {key: queue for key, queue in self.keys.items() if queue.state is KeyState.BUSY}
        for queue in self.keys.values():
            queue.entries.clear()
        self.gated.clear()
