"""All records that this process has fetched and not finished.

Lives on the event loop, never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock_kit.clock import Clock
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.keys import Entry, KeyQueue, KeyState, Partition
from penstock_kit.lanes.policy import LanePolicy, Order
from penstock_kit.lanes.scheduler import Scheduler

__all__ = ["Window"]


class Window:
    """Queues by key, the order in which keys run, and what is finished."""

    def __init__(self, policy: LanePolicy, clock: Clock) -> None:
        self._clock = clock
        self._by_key = policy.order is Order.BY_KEY
        self._scheduler = Scheduler(weights=policy.weights, aging=policy.aging)
        self._leaving: list[tuple[Sequence[Partition], Callable[[], None]]] = []
        self.partitions: set[Partition] = set()
        self.running = 0

    def accept(self, batch: Sequence[tuple[Partition, list[Record]]]) -> None:
        """Take in what the poll thread read."""
        now = self._clock.monotonic()
        for partition, records in batch:
            if not partition.is_ours:
                continue
            partition.note_first(records[0].offset)
            for record in records:
                queue = self._queue_of(partition, record)
                entry = Entry(record, queue)
                partition.tracker.begin(entry)
                queue.entries.append(entry)
                if queue.state is KeyState.IDLE:
                    self._scheduler.offer(queue, now)

    def next(self) -> Entry | None:
        """The record to run now; the caller runs it and ends with `finish` or `put_back`."""
        now = self._clock.monotonic()
        while (queue := self._scheduler.next(now)) is not None:
            partition = queue.partition
            if not partition.is_ours:
                continue
            if not queue.entries:
                self._retire(queue)
                continue
            if not partition.may_start(queue.entries[0]):
                partition.gated.append(queue)
                continue
            entry = queue.entries.popleft()
            queue.state = KeyState.BUSY
            entry.deliveries += 1
            partition.take(entry)
            partition.running += 1
            self.running += 1
            return entry
        return None

    def finish(self, entry: Entry) -> None:
        """A running record needs no further work; its key goes on."""
        entry.queue.partition.tracker.finish(entry)  # even if revoked: the last commit counts it
        self._leave(entry)
        if entry.queue.partition.is_ours:
            self.release(entry.queue)

    def put_back(self, entry: Entry) -> bool:
        """A running record waits for its next try and `release`.

        False if it is not ours any more.
        """
        self._leave(entry)
        partition = entry.queue.partition
        if partition.is_ours:
            partition.put_back(entry)
        return partition.is_ours

    def release(self, queue: KeyQueue) -> None:
        """The key may go on with its first waiting record."""
        if queue.entries:
            self._scheduler.offer(queue, self._clock.monotonic())
        else:
            self._retire(queue)

    def abandon(self, entry: Entry) -> None:
        """A running record ends without being finished: never committed, its key stays blocked."""
        self._leave(entry)

    def withdraw(self, match: Callable[[Record], bool]) -> list[Entry]:
        """Take waiting records out; they hold the offset back until `finish_withdrawn`."""
        return [entry for partition in self.partitions for entry in partition.withdraw(match)]

    def finish_withdrawn(self, entry: Entry) -> None:
        """A withdrawn record needs no further work."""
        entry.queue.partition.tracker.finish(entry)

    def add(self, partitions: Sequence[Partition]) -> None:
        """New partitions are ours."""
        self.partitions.update(partitions)

    def revoke(self, partitions: Sequence[Partition], when_idle: Callable[[], None]) -> None:
        """Drop what waits; `when_idle` is called once nothing of them runs, possibly at once."""
        for partition in partitions:
            self.partitions.discard(partition)
            partition.drop_queued()
        self._leaving.append((partitions, when_idle))
        self._announce_idle()

    def open_gate(self, partitions: Sequence[Partition]) -> None:
        """Commits were acknowledged: keys held back by the suspect window may be ready now."""
        now = self._clock.monotonic()
        for partition in partitions:
            gated, partition.gated = partition.gated, []
            for queue in gated:
                self._scheduler.offer(queue, now)

    @property
    def queued(self) -> int:
        """Records that wait."""
        return sum(partition.depth for partition in self.partitions)

    def _queue_of(self, partition: Partition, record: Record) -> KeyQueue:
        key = record.key if self._by_key and record.key is not None else record.offset
        queue = partition.keys.get(key)
        if queue is None:
            queue = partition.keys[key] = KeyQueue(key, partition)
        return queue

    def _retire(self, queue: KeyQueue) -> None:
        queue.state = KeyState.IDLE
        queue.partition.keys.pop(queue.key, None)

    def _leave(self, entry: Entry) -> None:
        entry.queue.partition.running -= 1
        self.running -= 1
        if self._leaving:
            self._announce_idle()

    def _announce_idle(self) -> None:
        still = []
        for partitions, when_idle in self._leaving:
            if any(partition.running for partition in partitions):
                still.append((partitions, when_idle))
            else:
                when_idle()
        self._leaving = still
