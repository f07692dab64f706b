"""Reads retry topics: skips what is not ours, holds the rest until it is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Container, Hashable, Sequence
from datetime import timedelta
from typing import Final

import structlog
from penstock_contracts.dead import DeadReason
from penstock_contracts.retries import (
    RetryNote,
    is_retry_probe,
    read_retry_note,
    retry_probe_headers,
)

from penstock_kit.clock import Clock
from penstock_kit.errors import PenstockError
from penstock_kit.kafka.ports import Ack, OutRecord, Producer, Record, TopicPartition
from penstock_kit.lanes.broker_clock import BrokerClock
from penstock_kit.lanes.due import DueRecords
from penstock_kit.lanes.keys import Entry, Partition
from penstock_kit.lanes.outcomes import Dead, Retry
from penstock_kit.lanes.retries import Retries
from penstock_kit.lanes.retry_topics import RetryTopics
from penstock_kit.lanes.scheduler import level_of
from penstock_kit.lanes.window import Window

__all__ = ["RetryPump"]

log = structlog.get_logger(__name__)

_LOOK_AGAIN_S: Final = 5.0
"""Longest sleep: bounds how long a timeline without any known time goes unprobed."""

_BAD_NOTE = Dead(
    DeadReason.POISON,
    "bad_retry_note",
    "the record lies in a retry topic without a note that makes sense; only workers write there",
)


class RetryPump:
    """Between the retry partitions and the window; one timer, no thread of its own.

    `retries` is the way in: what it hears from brokers tells the time on the way out.

    Never early: a record is given to the window once the broker clock says that its due moment is
    certainly over. Where nobody has written for a while, a probe record tells the broker's time.

    Args:
        sources: request topics of ours; records of other sources belong to other groups.
        is_called_back: of a record, whether it need not wait: its handler will only end it.
        on_due: called after records were given to the window.
    """

    def __init__(
        self,
        *,
        topics: RetryTopics,
        sources: Collection[str],
        window: Window,
        producer: Producer,
        clock: Clock,
        is_called_back: Callable[[Record], bool] | None,
        on_due: Callable[[], None],
    ) -> None:
        self._topics = topics
        self._sources = frozenset(sources)
        self._window = window
        self._producer = producer
        self._clock = clock
        self._is_called_back = is_called_back or _never
        self._on_due = on_due
        self._broker_clock = BrokerClock()
        self._waiting = DueRecords(self._broker_clock)
        self._owned: dict[TopicPartition, tuple[Partition, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._probes: dict[TopicPartition, asyncio.Task[None]] = {}
        self._probe_again_at: dict[TopicPartition, float] = {}
        self._is_closed = False
        self.retries = Retries(producer, topics, clock=clock, on_ack=self._note_ack)

    @property
    def held(self) -> int:
        """Records that are not due yet."""
        return len(self._waiting)

    @property
    def next_at(self) -> float:
        """When the next one is due (monotonic), as far as is known; infinite if none waits."""
        return self._waiting.next_at()

    def accept(self, partition: Partition, records: Sequence[Record]) -> None:
        """Take in what was read from a retry partition."""
        if not partition.is_ours:
            return
        now = self._clock.monotonic()
        for record in records:
            if record.offset in partition.finished_before:
                partition.pass_by(record)
            else:
                self._accept(partition, record, now)
        self._release(now)

    def add(self, partitions: Sequence[Partition]) -> None:
        """New partitions are ours."""
        now = self._clock.monotonic()
        self._owned.update({p.place: (p, now) for p in partitions if p.is_retry})

    def drop_lost(self) -> None:
        """Partitions were revoked: forget their records."""
        self._waiting.drop_lost()
        self._owned = {place: own for place, own in self._owned.items() if own[0].is_ours}

    @property
    def waiting(self) -> list[Entry]:
        """What is not due yet."""
        return self._waiting.waiting

    def withdraw(self, chosen: Container[Entry]) -> list[Entry]:
        """Take those of them that wait out; they hold the offset back until they are finished."""
        entries = self._waiting.withdraw(chosen)
        for entry in entries:
            entry.queue.partition.take(entry)
        return entries

    async def stop(self) -> None:
        """Release nothing any more; what waits stays in the log. Works twice and unstarted."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        probes = list(self._probes.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)

    def _accept(self, partition: Partition, record: Record, now: float) -> None:
        timeline = self._time_line(record, now)
        note = read_retry_note(record.headers)
        is_foreign = note is not None and note.source not in self._sources
        if is_foreign or is_retry_probe(record.headers):
            self._window.pass_over(partition, record)
            return
        if note is None:
            log.error(
                "lanes.bad_retry_note",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
            )
            entry = self._window.take_in(partition, record, level=partition.level)
            entry.verdict = _BAD_NOTE
            self._window.admit(entry)
            return
        entry = self._window.take_in(partition, record, level=level_of(note.source))
        entry.note, entry.failures, entry.state = note, note.failures, note.state
        if self._is_called_back(record):
            self._window.admit(entry)
            return
        wait = min(timedelta(milliseconds=note.delay_ms), self._longest(record.topic))
        entry.verdict = _hop(note, wait)
        since_ms = record.timestamp_ms if record.is_broker_time else now * 1000
        self._waiting.add(entry, timeline, since_ms + wait / timedelta(milliseconds=1))

    def _time_line(self, record: Record, now: float) -> Hashable:
        """Whose clock the record's due moment is on; it may tell us the time besides.

        Without the broker's timestamp the wait counts from now: late, but never early.
        """
        if record.is_broker_time:
            self._broker_clock.saw(record.place, record.timestamp_ms, at=now)
            return record.place
        timeline = ("read", *record.place)
        self._broker_clock.saw(timeline, now * 1000, at=now)
        return timeline

    def _longest(self, topic: str) -> timedelta:
        longest = self._topics.longest_wait(topic)
        assert longest is not None, "only retry topics are given to the pump"
        return longest

    def _release(self, now: float) -> None:
        due = self._waiting.take_due(now)
        for entry in due:
            self._window.admit(entry)
        self._arm(now)
        if due:
            self._on_due()

    def _arm(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_closed or not len(self._waiting):
            return
        self._probe_silent(now)
        pause_s = min(max(self.next_at - now, 0.0), _LOOK_AGAIN_S)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(pause_s, self.wake)

    def wake(self) -> None:
        """Give the window what is due by now; the timer does so by itself."""
        self._release(self._clock.monotonic())

    def _note_ack(self, ack: Ack, since: float) -> None:
        """What we wrote ourselves tells the broker's time, and which records nobody had before us.

        Behind a record that was sent when the partition was ours already, everything was appended
        under our assignment: no other process can have begun it.
        """
        place = TopicPartition(ack.topic, ack.partition)
        if ack.timestamp_ms >= 0:
            now = self._clock.monotonic()
            self._broker_clock.saw(place, ack.timestamp_ms, at=now, is_ack=True)
        if (own := self._owned.get(place)) is not None and since > own[1]:
            own[0].note_own_write(ack.offset)

    def _probe_silent(self, now: float) -> None:
        """Ask for the time where something waits and no acknowledgement has told it lately."""
        for timeline in self._waiting.timelines:
            if (
                isinstance(timeline, TopicPartition)
                and timeline not in self._probes
                and now >= self._probe_again_at.get(timeline, now)
                and not self._broker_clock.is_fresh(timeline, now)
            ):
                self._probes[timeline] = asyncio.create_task(
                    self._probe(timeline), name="lanes-retry-probe"
                )

    async def _probe(self, place: TopicPartition) -> None:
        out = OutRecord(place.topic, None, None, retry_probe_headers(), place.partition)
        try:
            since = self._clock.monotonic()
            self._note_ack(await self._producer.send(out), since)
        except PenstockError as error:
            # Without it the wait is longer, not wrong.
            log.warning("lanes.retry_probe_failed", topic=place.topic, error=str(error))
            self._probe_again_at[place] = self._clock.monotonic() + _LOOK_AGAIN_S
        finally:
            del self._probes[place]
        if not self._is_closed:
            self.wake()


def _never(_: Record) -> bool:
    return False


def _hop(note: RetryNote, waited: timedelta) -> Retry | None:
    """What is left to wait after this topic; None if nothing is."""
    rest = timedelta(milliseconds=note.delay_ms) - waited
    if rest <= timedelta(0):
        return None
    return Retry(
        after=rest, code="hop", detail="longer than any tier", counts=False, state=note.state
    )
