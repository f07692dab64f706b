"""Retry pump under any history: never early, never lost, never a commit past what waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from penstock_contracts.retries import RetryNote, retry_headers
from penstock_kit.kafka.ports import Ack, DeliveryUnknown, OutRecord, Record, TopicPartition
from penstock_kit.lanes.keys import Entry, Partition
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.lanes.retry_pump import RetryPump
from penstock_kit.lanes.retry_topics import RetryTier, RetryTopics
from penstock_kit.lanes.window import Window

from tests.support.clock import HandClock

OURS, FOREIGN = "ai.chat.requests.v1", "ai.embed.requests.v1"
SHORT, LONG = timedelta(seconds=5), timedelta(seconds=600)
TOPICS = RetryTopics([RetryTier("short", SHORT), RetryTier("long", LONG)])
PLACES = [TopicPartition("short", 0), TopicPartition("long", 0), TopicPartition("long", 1)]
LAG_S = 0.7
"""How late a release may be in this world: clocks that run off, and probes once a minute."""


@dataclass
class Log:
    """A partition at its broker: a clock of its own that is off and runs off."""

    ahead_ms: float
    rate: float
    records: list[Record] = field(default_factory=list)
    committed: int = 0
    read: int = 0

    def now_ms(self, mono: float) -> float:
        return 1_700_000_000_000 + self.ahead_ms + mono * 1000 * self.rate


class Brokers:
    """A producer; `is_away` makes every write fail."""

    def __init__(self, logs: dict[TopicPartition, Log], clock: HandClock) -> None:
        self.logs = logs
        self.clock = clock
        self.is_away = False

    async def send(self, record: OutRecord) -> Ack:
        if self.is_away:
            raise DeliveryUnknown("away")
        assert record.partition is not None
        place = TopicPartition(record.topic, record.partition)
        appended = self.append(place, record.value or b"", list(record.headers))
        return Ack(*place, appended.offset, appended.timestamp_ms)

    def append(
        self, place: TopicPartition, value: bytes, headers: list[tuple[str, bytes]]
    ) -> Record:
        log = self.logs[place]
        at_ms = int(log.now_ms(self.clock.monotonic()))
        record = Record(*place, len(log.records), None, value, headers, at_ms, is_broker_time=True)
        log.records.append(record)
        return record


class RetryPumpMachine(RuleBasedStateMachine):
    """Brokers with wrong clocks, reads in pieces, rebalances, a producer that comes and goes."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = HandClock()
        rates = (1.0, 1 - 4e-4, 1 + 4e-4)
        self.logs = {
            place: Log(n * 900.0, rate)
            for n, (place, rate) in enumerate(zip(PLACES, rates, strict=True))
        }
        self.brokers = Brokers(self.logs, self.clock)
        self.window = Window(LanePolicy(), self.clock)
        self.pump = RetryPump(
            topics=TOPICS,
            sources=[OURS],
            window=self.window,
            producer=self.brokers,  # type: ignore[arg-type] # only `send` is used
            clock=self.clock,
            is_called_back=None,
            on_due=lambda: None,
        )
        self.owned: dict[TopicPartition, Partition] = {}
        self.epoch = 0
        self.running: list[Entry] = []
        self.due_ms: dict[tuple[TopicPartition, int], float] = {}
        self.done: set[tuple[TopicPartition, int]] = set()
        self.appended_before: dict[TopicPartition, int] = {}
        for place in PLACES:
            self.assign(place)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)

    async def breathe(self) -> None:
        """Let probes run and be acknowledged."""
        for _ in range(4):
            await asyncio.sleep(0)

    @rule(
        place=st.sampled_from(PLACES),
        delay=st.integers(0, 10_000) | st.integers(0, 2 * 600_000),
        is_ours=st.booleans(),
    )
    def write(self, place: TopicPartition, delay: int, *, is_ours: bool) -> None:
        source = OURS if is_ours else FOREIGN
        headers = retry_headers(RetryNote(source=source, failures=1, delay_ms=delay))
        record = self.brokers.append(place, b"job", list(headers))
        if is_ours:
            wait = min(
                delay, (TOPICS.longest_wait(place.topic) or LONG) / timedelta(milliseconds=1)
            )
            self.due_ms[place, record.offset] = record.timestamp_ms + wait

    @rule(place=st.sampled_from(PLACES))
    def assign(self, place: TopicPartition) -> None:
        if place in self.owned:
            return
        self.epoch += 1
        log = self.logs[place]
        log.read = log.committed
        partition = Partition(
            place,
            epoch=self.epoch,
            committed=log.committed,
            level=1,
            suspect_span=1 << 60,
            is_retry=True,
        )
        self.owned[place] = partition
        self.window.add([partition])
        self.pump.add([partition])
        self.appended_before = {**self.appended_before, place: len(log.records)}

    @rule(place=st.sampled_from(PLACES))
    def revoke(self, place: TopicPartition) -> None:
        partition = self.owned.pop(place, None)
        if partition is None:
            return
        self.logs[place].committed = max(partition.tracker.position, 0)
        self.window.revoke([partition], lambda: None)
        self.pump.drop_lost()

    @rule(place=st.sampled_from(PLACES), count=st.integers(1, 20))
    def read(self, place: TopicPartition, count: int) -> None:
        partition, log = self.owned.get(place), self.logs[place]
        if partition is None:
            return
        batch = log.records[log.read : log.read + count]
        if batch:
            log.read += len(batch)
            partition.handed += len(batch)
            partition.handed_bytes += sum(record.size_bytes for record in batch)
            self.run(self.accept(partition, batch))
        self.start_what_may()

    async def accept(self, partition: Partition, batch: list[Record]) -> None:
        self.pump.accept(partition, batch)
        await self.breathe()

    @rule(seconds=st.floats(0, 90))
    def wait(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        self.run(self.wake())
        self.start_what_may()

    @rule(times=st.integers(1, 4))
    def wait_for_the_next(self, times: int) -> None:
        """To the very moment at which the pump believes that something is due."""
        for _ in range(times):
            pause_s = self.pump.next_at - self.clock.monotonic()
            if 0 < pause_s < 2 * LONG.total_seconds():
                self.wait(pause_s + 1e-6)

    async def wake(self) -> None:
        self.pump.wake()
        await self.breathe()
        self.pump.wake()

    @rule(is_away=st.booleans())
    def producer_comes_or_goes(self, *, is_away: bool) -> None:
        self.brokers.is_away = is_away

    @precondition(lambda self: self.running)
    @rule()
    def finish_one(self) -> None:
        entry = self.running.pop()
        self.done.add((entry.queue.partition.place, entry.offset))
        self.window.finish(entry)

    def start_what_may(self) -> None:
        """Take out what the window gives; nothing of it may be early by its broker's clock."""
        while (entry := self.window.next()) is not None:
            place = entry.queue.partition.place
            due_ms = self.due_ms[place, entry.offset]
            assert self.logs[place].now_ms(self.clock.monotonic()) >= due_ms, "early"
            is_old = entry.offset < self.appended_before[place]
            assert entry.delivery().is_suspect or not is_old, "somebody may have begun it"
            self.running.append(entry)

    @invariant()
    def commits_pass_nothing_that_waits(self) -> None:
        for place, partition in self.owned.items():
            mine = [offset for where, offset in self.due_ms if where == place]
            passed = [offset for offset in mine if offset < partition.tracker.position]
            assert all((place, offset) in self.done for offset in passed), "lost"

    @invariant()
    def memory_holds_what_was_read_and_no_more(self) -> None:
        assert self.pump.held <= sum(partition.depth for partition in self.owned.values())

    def teardown(self) -> None:
        """Everything of ours comes, and soon after it is due."""
        self.brokers.is_away = False
        for place in PLACES:
            self.assign(place)
            while self.logs[place].read < len(self.logs[place].records):
                self.read(place, 5)
        for _ in range(40):  # longer than the longest wait, in steps that a probe survives
            self.clock.advance(timedelta(seconds=20))
            self.run(self.wake())
            self.start_what_may()
            now = self.clock.monotonic()
            begun = {(e.queue.partition.place, e.offset) for e in self.running} | self.done
            late = {
                key
                for key, due_ms in self.due_ms.items()
                if self.logs[key[0]].now_ms(now) >= due_ms + LAG_S * 1000
            }
            assert late <= begun, "late"
        assert set(self.due_ms) <= begun, "never came"
        while self.running:  # also handlers of earlier assignments, which their keys wait for
            self.finish_one()
            self.start_what_may()
        for partition in self.owned.values():
            assert partition.depth == 0
        self.run(self.pump.stop())
        self.loop.close()


TestRetryPump = RetryPumpMachine.TestCase
TestRetryPump.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
