"""All records that this process has fetched and not finished.

Lives on the event loop, never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from penstock_kit.clock import Clock
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.handover import Handover
from penstock_kit.lanes.keys import Entry, KeyQueue, KeyState, Partition
from penstock_kit.lanes.policy import LanePolicy, Order
from penstock_kit.lanes.rules import Held, NoRules, Rules
from penstock_kit.lanes.scheduler import Scheduler

__all__ = ["TenantOf", "Window"]

TenantOf = Callable[[Record], str | None]

_NEWEST = 0.05
"""Weight of the last record in the mean time of a topic."""


class Window:
    """Queues by key, the order in which keys run, and what is finished.

    Attributes:
        limit: the most records in flight now; at most the policy's `max_in_flight`.
        may_start: asked with the present moment before anything starts.
        service_s: mean seconds of a handler, by topic of the record.
    """

    def __init__(
        self,
        policy: LanePolicy,
        clock: Clock,
        *,
        tenant_of: TenantOf | None = None,
        rules: Rules | None = None,
        may_park: Callable[[Record], bool] | None = None,
        is_wanted: Callable[[Record], bool] | None = None,
    ) -> None:
        self._policy = policy
        self._is_wanted = is_wanted
        self._may_park = may_park
        self._clock = clock
        self._by_key = policy.order is Order.BY_KEY
        self._tenant_of = tenant_of
        self._scheduler = Scheduler(
            weights=policy.weights, aging=policy.aging, tenant_cap=policy.tenant_in_flight
        )
        self._held = Held(rules or NoRules(), self._scheduler, parked_for=policy.parked_for)
        self._handover = Handover()
        self.partitions: set[Partition] = set()
        self.running = 0
        self.limit = policy.max_in_flight
        self.may_start: Callable[[float], bool] = lambda _: True
        self.service_s: dict[str, float] = {}

    def accept(self, batch: Sequence[tuple[Partition, list[Record]]]) -> None:
        """Take in what the poll thread read."""
        now = self._clock.monotonic()
        shares, tenant_of, is_wanted = self._scheduler.shares, self._tenant_of, self._is_wanted
        share = shares.nobody
        for partition, records in batch:
            if not partition.is_ours:
                continue
            partition.note_first(records[0].offset)
            finished_before = partition.finished_before
            for record in records:
                if is_wanted is not None and not is_wanted(record):
                    self.pass_over(partition, record)
                    continue
                if tenant_of is not None:
                    share = shares.of(tenant_of(record))
                if finished_before and record.offset in finished_before:
                    partition.pass_by(record)
                    continue
                queue = self._queue_of(partition, record)
                entry = Entry(record, queue, share)
                partition.tracker.begin(entry)
                queue.entries.append(entry)
                if queue.state is KeyState.IDLE:
                    self._scheduler.offer(queue, now)

    def take_in(self, partition: Partition, record: Record, *, level: int) -> Entry:
        """A record of a retry topic, its key for itself: it runs after `admit`, not before."""
        shares = self._scheduler.shares
        share = shares.nobody if self._tenant_of is None else shares.of(self._tenant_of(record))
        entry = Entry(record, KeyQueue(record.offset, partition, share, home=level), share)
        partition.tracker.begin(entry)
        return entry

    def pass_over(self, partition: Partition, record: Record) -> None:
        """A record that is not for us: it needs no handler and no room."""
        partition.tracker.skip(record.offset)
        partition.take_record(record)

    def admit(self, entry: Entry) -> None:
        """What `take_in` took in may run."""
        queue = entry.queue
        if queue.partition.is_ours:
            queue.entries.append(entry)
            queue.partition.keys[queue.key] = queue
            self._handover.wait_for_earlier(queue)
            if queue.state is KeyState.IDLE:
                self._scheduler.offer(queue, self._clock.monotonic())

    def next(self) -> Entry | None:
        """The record to run now; the caller runs it and ends with `finish` or `put_back`."""
        if self.running >= self.limit:
            return None
        now = self._clock.monotonic()
        if not self.may_start(now):
            return None
        while (queue := self._scheduler.next(now)) is not None:
            partition = queue.partition
            if not partition.is_ours:
                continue
            if not queue.entries:
                self._retire(queue)
                continue
            entry = queue.entries[0]
            if entry.share is not queue.share:  # the one that made the key ready was withdrawn
                self._scheduler.offer(queue, queue.since)
            elif not partition.may_start(entry):
                partition.gated.append(queue)
            elif self._held.lets_start(entry):
                return self._begin(entry, now)
        return None

    def may_run(self) -> bool:
        """Whether the partitions are still surely ours; time may have passed since `next`."""
        return self.may_start(self._clock.monotonic())

    def finish(self, entry: Entry) -> None:
        """A running record needs no further work; its key goes on."""
        queue = entry.queue
        queue.partition.tracker.finish(entry)  # even if revoked: the last commit counts it
        self._leave(entry)
        if queue.partition.is_ours:
            self.release(queue)
        elif queue.heir is not None:
            self._inherit(queue.heir, finished=entry)
        entry.let_go()

    def put_back(self, entry: Entry) -> bool:
        """A running record waits for its next try and `release`.

        False if it is not ours any more.
        """
        self._leave(entry)
        queue = entry.queue
        self._held.unpark(entry)
        if queue.partition.is_ours:
            queue.partition.put_back(entry)
            return True
        if queue.heir is not None:
            self._inherit(queue.heir, finished=None)
        return False

    def release(self, queue: KeyQueue) -> None:
        """The key may go on with its first waiting record."""
        if queue.entries:
            self._scheduler.offer(queue, self._clock.monotonic())
        else:
            self._retire(queue)

    def abandon(self, entry: Entry) -> None:
        """A running record ends without being finished: never committed, its key stays blocked."""
        self._leave(entry)

    @property
    def waiting(self) -> list[Entry]:
        """What waits now, also what rests for its next try."""
        return [
            entry
            for partition in self.partitions
            for queue in partition.keys.values()
            for entry in queue.entries
        ]

    def withdraw(self, chosen: Collection[Entry]) -> list[Entry]:
        """Take out those of them that wait; they hold the offset back until `finish_withdrawn`."""
        gone = set(chosen)
        queues = dict.fromkeys(entry.queue for entry in chosen)
        taken = [
            entry for queue in queues if queue.partition.is_ours for entry in queue.withdraw(gone)
        ]
        if taken:
            self._held.judge_again()
        return taken

    def finish_withdrawn(self, entry: Entry) -> None:
        """A withdrawn record needs no further work."""
        entry.queue.partition.tracker.finish(entry)
        entry.let_go()

    def add(self, partitions: Sequence[Partition]) -> None:
        """New partitions are ours."""
        self.partitions.update(partitions)

    def revoke(self, partitions: Sequence[Partition], when_idle: Callable[[], None]) -> None:
        """Drop what waits; `when_idle` is called once nothing of them runs, possibly at once."""
        for partition in partitions:
            self.partitions.discard(partition)
            partition.drop_queued()
        self._held.judge_again()
        self._handover.leave(partitions, when_idle)

    def open_gate(self, partitions: Sequence[Partition]) -> None:
        """Commits were acknowledged: keys held back by the suspect window may be ready now."""
        for partition in partitions:
            gated, partition.gated = partition.gated, []
            for queue in gated:
                self._scheduler.offer(queue, queue.since)

    def relieve(self) -> bool:
        """Move records that rules hold out of partitions where they keep others from running.

        Whether any leaves; `next` gives them, with a verdict instead of a handler.
        """
        if self._may_park is None or not self._held.count:
            return False
        policy = self._policy
        is_full = 2 * self.queued > policy.window_records
        crowded = [
            partition
            for partition in self.partitions
            if 2 * partition.tracker.beyond_gap > policy.span_cap
            or 2 * partition.depth > policy.queue_per_partition
            or (is_full and partition.depth * len(self.partitions) > policy.window_records // 2)
        ]
        for partition in crowded:
            self._held.park(partition, self._may_park)
        return bool(crowded)

    def judge_again(self) -> None:
        """A rule came or went: everything that rules hold has its turn."""
        self._held.judge_again()

    def is_dropped(self, entry: Entry) -> bool:
        """Whether a rule wants a waiting record ended."""
        return self._held.is_dropped(entry)

    @property
    def queued(self) -> int:
        """Records that wait."""
        return sum(partition.depth for partition in self.partitions)

    @property
    def ruled(self) -> int:
        """Those of them that wait because of a rule."""
        return self._held.count

    def _begin(self, entry: Entry, now: float) -> Entry:
        queue, partition = entry.queue, entry.queue.partition
        queue.entries.popleft()
        queue.state = KeyState.BUSY
        entry.deliveries += 1
        entry.started_at = now
        partition.take(entry)
        partition.running += 1
        self.running += 1
        self._scheduler.started(entry.share)
        return entry

    def _queue_of(self, partition: Partition, record: Record) -> KeyQueue:
        key = record.key if self._by_key and record.key is not None else record.offset
        queue = partition.keys.get(key)
        if queue is None:
            queue = partition.keys[key] = KeyQueue(
                key, partition, self._scheduler.shares.nobody, home=partition.level
            )
            if self._handover.is_busy:
                self._handover.wait_for_earlier(queue)
        return queue

    def _inherit(self, heir: KeyQueue, *, finished: Entry | None) -> None:
        """A handler of an earlier assignment has ended: its key goes on under the present one."""
        if not heir.partition.is_ours:
            return
        if finished is not None and heir.entries and heir.entries[0].offset == finished.offset:
            same = heir.entries.popleft()  # delivered again meanwhile, and done by now
            heir.partition.take(same)
            heir.partition.tracker.finish(same)
        self.release(heir)

    def _retire(self, queue: KeyQueue) -> None:
        queue.state = KeyState.IDLE
        queue.partition.keys.pop(queue.key, None)

    def _leave(self, entry: Entry) -> None:
        partition = entry.queue.partition
        partition.running -= 1
        self.running -= 1
        seconds = self._clock.monotonic() - entry.started_at
        self._scheduler.ended(entry.share, seconds)
        topic = partition.place.topic
        mean_s = self.service_s.get(topic, seconds)
        self.service_s[topic] = mean_s + _NEWEST * (seconds - mean_s)
        if entry.counted:
            self._held.ended(entry)
        if not partition.is_ours:
            self._handover.left(entry.queue)
