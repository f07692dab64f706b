"""Whose turn it is."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from penstock_kit.kafka.ports import Record, TopicPartition
from penstock_kit.lanes.keys import Entry, KeyQueue, Partition
from penstock_kit.lanes.scheduler import Scheduler, level_of
from penstock_kit.lanes.tenants import Share


def key_of(topic: str) -> KeyQueue:
    partition = Partition(
        TopicPartition(topic, 0), epoch=1, committed=0, level=level_of(topic), suspect_span=10
    )
    return KeyQueue(b"k", partition, Share(None), home=partition.level)


def scheduler_with(now: float = 0.0, **counts: int) -> Scheduler:
    scheduler = Scheduler(weights=(6, 3, 1), aging=timedelta(seconds=10))
    for name, count in counts.items():
        for _ in range(count):
            scheduler.offer(key_of("t" if name == "default" else f"t.{name}"), now)
    return scheduler


def levels(scheduler: Scheduler, count: int, now: float = 0.0) -> list[int]:
    taken = [scheduler.next(now) for _ in range(count)]
    return [queue.partition.level for queue in taken if queue is not None]


@pytest.mark.parametrize(("topic", "level"), [("a.v1.high", 0), ("a.v1", 1), ("a.v1.low", 2)])
def test_level_of_when_suffix_given_then_priority(topic: str, level: int) -> None:
    assert level_of(topic) == level


def test_next_when_all_levels_have_work_then_six_three_one() -> None:
    scheduler = scheduler_with(high=100, default=100, low=100)

    assert Counter(levels(scheduler, 100)) == {0: 60, 1: 30, 2: 10}


def test_next_when_weights_apply_then_turns_are_spread() -> None:
    scheduler = scheduler_with(high=100, default=100, low=100)

    assert levels(scheduler, 10).index(2) < 9


def test_next_when_only_low_has_work_then_it_has_every_turn() -> None:
    assert levels(scheduler_with(low=5), 9) == [2] * 5


def test_next_when_low_waited_too_long_then_one_turn_more_in_each_round_is_its() -> None:
    scheduler = scheduler_with(low=100)
    for _ in range(100):
        scheduler.offer(key_of("t.high"), 9.0)
        scheduler.offer(key_of("t"), 9.0)

    assert Counter(levels(scheduler, 110, now=10.5)) == {0: 60, 1: 30, 2: 20}


def test_next_when_an_old_backlog_is_low_then_new_high_ones_do_not_wait_behind_it() -> None:
    scheduler = scheduler_with(low=5_000)
    waits = []
    for second in range(100, 200):
        now = float(second)
        scheduler.offer(key_of("t.high"), now)
        taken = [scheduler.next(now) for _ in range(2)]
        waits += [now - queue.since for queue in taken if queue is not None and queue.level == 0]

    assert waits == [0.0] * 100


def test_next_when_the_oldest_is_at_its_cap_then_the_next_oldest_has_the_turn_of_the_aged() -> None:
    scheduler = Scheduler(weights=(6, 3, 1), aging=timedelta(seconds=10), tenant_cap=1)
    for _ in range(10):
        scheduler.offer(key_of("t.high"), 15.0)
        scheduler.offer(key_of("t"), 1.0)
    assert levels(scheduler, 9, now=20.0).count(2) == 0, "all of a round but the last turn"
    full = key_of("t.low")
    full.share = scheduler.shares.of("full")
    scheduler.started(full.share)
    scheduler.offer(full, 0.0)

    assert levels(scheduler, 1, now=20.0) == [1]


def test_next_when_nothing_is_ready_then_none() -> None:
    assert scheduler_with().next(0.0) is None


class SchedulerMachine(RuleBasedStateMachine):
    """Against the obvious model: lists of ready keys per tenant and level, in order of offers."""

    CAP = 2
    NAMES = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(
            weights=(6, 3, 1), aging=timedelta(seconds=10), tenant_cap=self.CAP
        )
        self.ready: dict[tuple[str, int], list[KeyQueue]] = {}
        self.running: list[tuple[str, KeyQueue]] = []
        self.now = 0.0
        self.passed_over = Counter[int]()

    @rule(name=st.sampled_from(NAMES), level=st.integers(0, 2))
    def offer(self, name: str, level: int) -> None:
        topic = ("t.high", "t", "t.low")[level]
        queue = key_of(topic)
        entry = Entry(Record(topic, 0, 0, b"k", None), queue, self.scheduler.shares.of(name))
        queue.entries.append(entry)
        self.scheduler.offer(queue, self.now)
        self.ready.setdefault((name, level), []).append(queue)

    @rule()
    def next(self) -> None:
        startable = {name for (name, _), keys in self.ready.items() if keys and self.has_room(name)}
        queue = self.scheduler.next(self.now)
        assert (queue is not None) == bool(startable)
        if queue is not None:
            name = str(queue.share.name)
            assert name in startable
            assert self.ready[name, queue.level].pop(0) is queue, "first come, first served"
            self.count_turns(queue.level, startable)
            self.scheduler.started(queue.share)
            self.running.append((name, queue))

    @rule(count=st.integers(1, 25))
    def run_one_by_one(self, count: int) -> None:
        for _ in range(count):
            before = len(self.running)
            self.next()
            if len(self.running) > before:
                self.end(before, 1.0)

    @rule(name=st.sampled_from(NAMES), level=st.integers(0, 2))
    def offer_many(self, name: str, level: int) -> None:
        for _ in range(20):
            self.offer(name, level)

    def count_turns(self, level: int, startable: set[str]) -> None:
        """However old the others are: no level that can start is passed over for a whole round."""
        can_start = {
            where for (name, where), keys in self.ready.items() if keys and name in startable
        }
        self.passed_over = Counter(
            {where: self.passed_over[where] + 1 for where in can_start - {level}}
        )
        assert all(turns <= 10 for turns in self.passed_over.values()), self.passed_over

    @precondition(lambda machine: machine.running)
    @rule(which=st.integers(0, 100), seconds=st.sampled_from([0.001, 1.0, 300.0]))
    def end(self, which: int, seconds: float) -> None:
        _, queue = self.running.pop(which % len(self.running))
        self.scheduler.ended(queue.share, seconds)

    @rule(seconds=st.sampled_from([0.1, 5.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take_demoted(self) -> None:
        assert self.scheduler.take_demoted() == []

    @invariant()
    def caps_hold(self) -> None:
        counts = Counter(name for name, _ in self.running)
        assert all(count <= self.CAP for count in counts.values())

    def has_room(self, name: str) -> bool:
        return sum(running == name for running, _ in self.running) < self.CAP

    def teardown(self) -> None:
        """Whatever was offered comes out once tenants have room."""
        while self.running:
            self.end(0, 1.0)
        left = sum(len(keys) for keys in self.ready.values())
        for _ in range(left):
            queue = self.scheduler.next(self.now)
            assert queue is not None
        assert self.scheduler.next(self.now) is None


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=500, stateful_step_count=40, deadline=None)
