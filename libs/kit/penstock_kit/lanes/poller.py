"""The one thread that talks to the consumer. It never waits for a handler.

Records go to the loop in one call per round. What comes back (how much is queued, how far the work
is) are plain numbers on each `Partition`, read here every round: nothing has to wake this thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import structlog

from penstock_kit.clock import Clock
from penstock_kit.errors import Fatal, Retryable
from penstock_kit.kafka.ports import Assignment, Consumer, Record, TopicPartition
from penstock_kit.lanes.keys import Partition
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.lanes.scheduler import level_of

__all__ = ["Poller", "PollerEvents"]

log = structlog.get_logger(__name__)

_IDLE_WAIT_S: Final = 0.02
"""Longest wait for records.

New ones end it at once. Bounds how late commits and `stop` are seen.
"""

_FULL_WAIT_S: Final = 0.005
"""The same while a partition is paused: how late a resume may be."""

_GRACE_S: Final = 0.005
"""How long a full queue may drain before its partition is paused: pausing throws the client's
prefetched records away, which costs a round trip to the broker."""

_GRACE_STEP_S: Final = 0.0005
_BATCH: Final = 500
_SAMPLE_S: Final = 1.0
"""Pause between looks at the end offsets, for the lag."""


class PollerEvents(Protocol):
    """What the loop hears; every method runs on the loop."""

    def on_added(self, partitions: Sequence[Partition]) -> None:
        """These are ours now."""

    def on_records(self, batch: Sequence[tuple[Partition, list[Record]]]) -> None:
        """What a round read, in order of offsets."""

    def on_revoked(self, partitions: Sequence[Partition], when_idle: Callable[[], None]) -> None:
        """Drop what waits; call `when_idle` when nothing of these runs any more."""

    def on_committed(self, partitions: Sequence[Partition]) -> None:
        """The broker holds more of these."""

    def on_failed(self, error: Fatal) -> None:
        """The thread is over."""


class Poller:
    """Polls, hands over, commits, pauses and resumes; ends with a commit and leaves the group."""

    def __init__(
        self,
        *,
        consumer: Consumer,
        topics: Sequence[str],
        policy: LanePolicy,
        clock: Clock,
        events: PollerEvents,
        name: str,
    ) -> None:
        self._consumer = consumer
        self._topics = topics
        self._policy = policy
        self._clock = clock
        self._events = events
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._joined = asyncio.Event()
        self._owned: dict[tuple[str, int], Partition] = {}
        self._paused: set[TopicPartition] = set()
        self._commit_at = self._sample_at = 0.0
        self._is_stopping = False
        self._is_held = False
        self.progress_at = clock.monotonic()

    async def start(self) -> None:
        """Join the group; returns after the first round."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"{self._name}-poll", daemon=True)
        self.progress_at = self._clock.monotonic()
        self._thread.start()
        await self._joined.wait()

    async def stop(self) -> None:
        """Commit what is finished, leave the group, end the thread."""
        self._is_stopping = True
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    @property
    def paused(self) -> int:
        """How many partitions are not fetched from."""
        return len(self._paused)

    def hold(self) -> None:
        """Stop fetching, keep polling; from the next round on."""
        self._is_held = True

    def let_go(self) -> None:
        """Fetch again."""
        self._is_held = False

    def _run(self) -> None:
        try:
            self._consumer.subscribe(self._topics, self._on_change)
            while not self._is_stopping:
                self._round()
            self._commit(wait=True)
            self._consumer.close()
        except Fatal as error:
            self._on_loop(self._events.on_failed, error)
        except Exception as error:
            log.exception("lanes.poll_failed", lanes=self._name)
            fault = Fatal(f"the poll thread of lanes {self._name!r} failed: {error!r}; restart")
            self._on_loop(self._events.on_failed, fault)
        finally:
            self._on_loop(self._joined.set)

    def _round(self) -> None:
        wait_s = _FULL_WAIT_S if self._paused else _IDLE_WAIT_S
        records = self._consumer.poll(wait_s, _BATCH)
        now = self.progress_at = self._clock.monotonic()
        if not self._joined.is_set():
            self._on_loop(self._joined.set)
        if records:
            self._hand_over(records)
        self._settle_commits(now)
        self._balance()
        if now >= self._sample_at:
            self._sample_at = now + _SAMPLE_S
            self._sample_ends()

    def _hand_over(self, records: list[Record]) -> None:
        batch: dict[tuple[str, int], tuple[Partition, list[Record]]] = {}
        for record in records:
            place = (record.topic, record.partition)
            share = batch.get(place)
            if share is None:
                partition = self._owned.get(place)
                if partition is None:  # revoked while the records were on their way
                    continue
                share = batch[place] = (partition, [])
            share[1].append(record)
        for partition, mine in batch.values():
            partition.handed += len(mine)
            partition.handed_bytes += sum(record.size_bytes for record in mine)
        if batch:
            self._on_loop(self._events.on_records, list(batch.values()))

    def _settle_commits(self, now: float) -> None:
        waiting = [p for p in self._owned.values() if p.requested > p.acked]
        if waiting:
            acked = self._consumer.committed([p.place for p in waiting])
            moved = [p for p in waiting if acked[p.place] > p.acked]
            for partition in moved:
                partition.acked = acked[partition.place]
            if any(partition.gated for partition in moved):
                self._on_loop(self._events.on_committed, moved)
        ahead = max((p.tracker.position - p.requested for p in self._owned.values()), default=0)
        if ahead > 0 and (now >= self._commit_at or ahead > self._policy.suspect_span // 4):
            self._commit_at = now + self._policy.commit_interval.total_seconds()
            self._commit(wait=False)

    def _commit(self, *, wait: bool) -> None:
        """Only what we own now: a partition leaves `_owned` when it is revoked."""
        offsets = {
            partition.place: position
            for partition in self._owned.values()
            if (position := partition.tracker.position) > partition.requested
            or (wait and position > partition.acked)
        }
        if not offsets:
            return
        try:
            self._consumer.commit(offsets, wait=wait)
        except Retryable as error:
            log.warning("lanes.commit_refused", lanes=self._name, error=str(error))
            return
        for place, position in offsets.items():
            self._owned[place].requested = position

    def _balance(self) -> None:
        """Pause what is full, resume what has drained to half."""
        deadline = time.monotonic() + _GRACE_S
        while True:
            wanted = self._wanted_pauses()
            if wanted <= self._paused or self._is_held or time.monotonic() >= deadline:
                break
            time.sleep(_GRACE_STEP_S)
        if full := wanted - self._paused:
            self._consumer.pause(sorted(full))
        if drained := self._paused - wanted:
            self._consumer.resume(sorted(drained))
        self._paused = wanted

    def _wanted_pauses(self) -> set[TopicPartition]:
        partitions = self._owned.values()
        if self._is_held:
            return {partition.place for partition in partitions}
        policy = self._policy
        depth_limit, bytes_limit = self._shares()
        wanted = set()
        for partition in partitions:
            share = 2 if partition.place in self._paused else 1
            if (
                partition.depth * share > depth_limit
                or partition.depth_bytes * share > bytes_limit
                or partition.tracker.beyond_gap * share > policy.span_cap
            ):
                wanted.add(partition.place)
        return wanted

    def _shares(self) -> tuple[int, int]:
        """How much may wait of one partition.

        While the window is full, no more than its share of it: who has less is fetched from.
        """
        policy = self._policy
        partitions = self._owned.values()
        part = 2 if self._paused else 1
        depth_limit, bytes_limit = policy.queue_per_partition, policy.window_bytes
        if sum(partition.depth for partition in partitions) * part > policy.window_records:
            depth_limit = min(depth_limit, policy.window_records // len(partitions))
        if sum(partition.depth_bytes for partition in partitions) * part > policy.window_bytes:
            bytes_limit = policy.window_bytes // len(partitions)
        return depth_limit, bytes_limit

    def _sample_ends(self) -> None:
        ends = self._consumer.end_offsets([p.place for p in self._owned.values()])
        for place, end in ends.items():
            self._owned[place].end_offset = end

    def _on_change(self, change: Assignment) -> None:
        """Inside `poll`, or inside `close`."""
        if change.revoked:
            self._give_up([self._owned[p] for p in change.revoked if p in self._owned], change)
        if change.added:
            added = [
                Partition(
                    place,
                    epoch=change.epoch,
                    committed=committed,
                    level=level_of(place.topic),
                    suspect_span=self._policy.suspect_span,
                )
                for place, committed in change.added.items()
            ]
            self._owned.update({partition.place: partition for partition in added})
            self._on_loop(self._events.on_added, added)
            log.info("lanes.assigned", lanes=self._name, epoch=change.epoch, partitions=len(added))

    def _give_up(self, leaving: Sequence[Partition], change: Assignment) -> None:
        """Drop what waits, give running handlers a moment, commit, let go. Nothing is cancelled."""
        idle = threading.Event()
        self._on_loop(self._events.on_revoked, leaving, idle.set)
        if not change.lost and not self._is_stopping:
            idle.wait(self._policy.revoke_deadline.total_seconds())
        if not change.lost:
            self._commit(wait=True)
        for partition in leaving:
            del self._owned[partition.place]
            self._paused.discard(partition.place)
        log.info(
            "lanes.revoked",
            lanes=self._name,
            epoch=change.epoch,
            partitions=len(leaving),
            lost=change.lost,
            still_running=sum(partition.running for partition in leaving),
        )

    def _on_loop(self, callback: Callable[..., None], *arguments: Any) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: the process is at its end
            log.warning("lanes.loop_closed", lanes=self._name)
