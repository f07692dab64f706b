"""Whose turn it is."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from penstock_kit.kafka.ports import TopicPartition
from penstock_kit.lanes.keys import KeyQueue, Partition
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


def test_next_when_low_waited_too_long_then_it_goes_first() -> None:
    scheduler = scheduler_with(low=2)
    for _ in range(50):
        scheduler.offer(key_of("t.high"), 9.0)

    assert levels(scheduler, 3, now=10.5) == [2, 2, 0]


def test_next_when_nothing_is_ready_then_none() -> None:
    assert scheduler_with().next(0.0) is None
