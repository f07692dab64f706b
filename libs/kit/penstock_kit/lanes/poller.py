"""The one thread that talks to the consumer. It never waits for a handler.

Records go to the loop in one call per round. What comes back (how much is queued, how far the work
is) are plain numbers on each `Partition`, read here every round: nothing has to wake this thread.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol

import structlog

from penstock_kit.clock import Clock
from penstock_kit.errors import Fatal
from penstock_kit.kafka.ports import Assignment, Consumer, Record, TopicPartition
from penstock_kit.lanes.backpressure import Backpressure
from penstock_kit.lanes.commits import Commits
from penstock_kit.lanes.keys import Partition
from penstock_kit.lanes.loop_watch import LoopWatch
from penstock_kit.lanes.notes import decode_note
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

_BATCH: Final = 500
_SAMPLE_S: Final = 1.0
"""Pause between looks at the end offsets, for the lag."""

_CONFIRM_PAUSE_S: Final = 0.5
"""Pause before the broker is asked again whether we are still a member."""

_CLOSE_WAIT_S: Final = 15.0
"""Leaving the group takes a round trip; a client that hangs in it must not keep the process."""

_GIVE_UP_S: Final = 2.0
"""The same where no broker answers anyway: nothing can be committed, and the group will notice."""


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
        """The thread is over, or one of these methods failed."""


class Poller:
    """Polls, hands over, commits, pauses and resumes; ends with a commit and leaves the group.

    Attributes:
        round_at: when this thread last finished a round.
        progress_at: the same, but only of rounds in which the partitions were surely ours.
        is_doubtful: whether the membership has yet to be confirmed after such a silence.
        awake_since: when this process was last seen to wake up from one; at first its start.
        commits: what the broker takes of finished work.
    """

    def __init__(
        self,
        *,
        consumer: Consumer,
        topics: Sequence[str],
        policy: LanePolicy,
        clock: Clock,
        events: PollerEvents,
        name: str,
        loop_watch: LoopWatch,
        retry_topics: Collection[str] = (),
    ) -> None:
        self._consumer = consumer
        self._topics = [*topics, *retry_topics]
        self._retry_topics = frozenset(retry_topics)
        self._policy = policy
        self._clock = clock
        self._events = events
        self._name = name
        self._loop_watch = loop_watch
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._joined = asyncio.Event()
        self._owned: dict[tuple[str, int], Partition] = {}
        self._pressure = Backpressure(consumer, self._owned, policy=policy)
        self._sample_at = self._confirm_at = 0.0
        self._session_s = policy.session.total_seconds()
        self._is_stopping = False
        self.is_doubtful = False
        self.commits = Commits(consumer, self._owned, policy=policy, clock=clock, name=name)
        self.round_at = self.progress_at = self.awake_since = clock.monotonic()

    async def start(self) -> None:
        """Join the group; returns after the first round."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"{self._name}-poll", daemon=True)
        self.round_at = self.progress_at = self.awake_since = self._clock.monotonic()
        self._loop_watch.start(self._loop, self.round_at)
        self._thread.start()
        await self._joined.wait()

    async def stop(self) -> None:
        """Commit what is finished, leave the group, end the thread."""
        self._is_stopping = True
        if self._thread is not None:
            now = self._clock.monotonic()
            is_heard = self.unheard_s(now) < self._policy.stall_unready.total_seconds()
            await asyncio.to_thread(self._thread.join, _CLOSE_WAIT_S if is_heard else _GIVE_UP_S)
            if self._thread.is_alive():
                log.error("lanes.poll_thread_hangs", lanes=self._name)
            self._thread = None

    @property
    def paused(self) -> int:
        """How many partitions are not fetched from."""
        return len(self._pressure.paused)

    def may_start(self, now: float) -> bool:
        """Whether the partitions are surely ours; after a long silence of this thread: no."""
        return now - self.progress_at <= self._session_s

    def unheard_s(self, now: float) -> float:
        """How long no broker has said anything while this process was able to hear it."""
        return min(self._consumer.unheard_s(), now - self.awake_since)

    def hold(self) -> None:
        """Stop fetching, keep polling; from the next round on."""
        self._pressure.is_held = True

    def let_go(self) -> None:
        """Fetch again."""
        self._pressure.is_held = False

    def _run(self) -> None:
        try:
            self._consumer.subscribe(self._topics, self._on_change)
            while not self._is_stopping:
                self._round()
            self.commits.flush()
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
        wait_s = _FULL_WAIT_S if self._pressure.paused else _IDLE_WAIT_S
        records = self._consumer.poll(wait_s, _BATCH)
        now = self._clock.monotonic()
        if not self._joined.is_set():
            self._on_loop(self._joined.set)
        if records:
            self._hand_over(records)
        if self._knows_membership(now):
            was_barred = not self.may_start(now)
            self.progress_at = now
            moved = list(self._owned.values()) if was_barred else self.commits.settle(now)
            if was_barred or any(partition.gated for partition in moved):
                self._on_loop(self._events.on_committed, moved)
        self.round_at = now
        self._pressure.balance()
        self._loop_watch.look(now)
        if now >= self._sample_at:
            self._sample_at = now + _SAMPLE_S
            self._sample_ends()

    def _knows_membership(self, now: float) -> bool:
        """Whether our partitions are ours; after a silence only the broker can tell.

        A process that was stopped for longer than the session wakes up with partitions that
        somebody else may have by now. The broker refuses a commit of such a member.
        """
        if now - self.round_at > self._session_s:
            self.is_doubtful = True
            self.awake_since = now
            log.warning("lanes.was_silent", lanes=self._name, silence_s=now - self.round_at)
        if self.is_doubtful and now >= self._confirm_at:
            self._confirm_at = now + _CONFIRM_PAUSE_S
            self.is_doubtful = not self.commits.confirm()
            if not self.is_doubtful:
                log.warning(
                    "lanes.membership_confirmed", lanes=self._name, partitions=len(self._owned)
                )
        return not self.is_doubtful

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
                self._partition(place, at, change.epoch, note=change.notes.get(place, ""))
                for place, at in change.added.items()
            ]
            self._owned.update({partition.place: partition for partition in added})
            self._on_loop(self._events.on_added, added)
            log.info("lanes.assigned", lanes=self._name, epoch=change.epoch, partitions=len(added))

    def _partition(
        self, place: TopicPartition, committed: int, epoch: int, *, note: str
    ) -> Partition:
        is_retry = place.topic in self._retry_topics
        return Partition(
            place,
            epoch=epoch,
            committed=committed,
            level=level_of(place.topic),
            # What waits for another try is out of order by nature; its owner is told otherwise.
            suspect_span=sys.maxsize if is_retry else self._policy.suspect_span,
            is_retry=is_retry,
            finished_before=decode_note(committed, note),
        )

    def _give_up(self, leaving: Sequence[Partition], change: Assignment) -> None:
        """Drop what waits, give running handlers a moment, commit, let go. Nothing is cancelled."""
        idle = threading.Event()
        self._on_loop(self._events.on_revoked, leaving, idle.set)
        if not change.lost and not self._is_stopping:
            idle.wait(self._policy.revoke_deadline.total_seconds())
        if not change.lost:
            self.commits.flush()
        for partition in leaving:
            del self._owned[partition.place]
            self._pressure.paused.discard(partition.place)
        self.commits.forget_refusal()
        if change.lost:  # what the group took away is known now
            self.is_doubtful = False
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
            self._loop.call_soon_threadsafe(self._tell, callback, *arguments)
        except RuntimeError:  # the loop is closed: the process is at its end
            log.warning("lanes.loop_closed", lanes=self._name)

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        """On the loop, where nobody hears of an error: records would be skipped in silence."""
        try:
            callback(*arguments)
        except Exception as error:
            log.exception("lanes.hand_over_failed", lanes=self._name)
            fault = Fatal(
                f"lanes {self._name!r} failed to take in what their poll thread told: {error!r}; "
                "the process must restart, what was not taken in is read again"
            )
            self._events.on_failed(fault)
