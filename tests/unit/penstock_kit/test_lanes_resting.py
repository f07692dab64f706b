"""Keys whose record rests in place for its next try, and what ends that rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from penstock_contracts.control import ControlRule, Selector
from penstock_contracts.topics import DEAD
from penstock_kit.errors import Busy
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.lanes.engine import DrainCut, Lanes
from penstock_kit.lanes.outcomes import Delivery, Done, Outcome, Retry
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.rule_book import RuleBook

from tests.support.kafka_ports import Ports
from tests.support.lanes import Work, number, running, until

LONG = Retry(after=timedelta(hours=1), code="later", detail="x", in_place=True)


@asynccontextmanager
async def lanes_with(work: Work, count: int, **more: Any) -> AsyncIterator[Lanes]:
    """Lanes in memory over so many records of one key."""
    topic = f"t-{uuid4().hex[:8]}"
    kafka = MemoryKafka([topic, DEAD], partitions=1)
    ports = Ports(topic, kafka.producer(), kafka.consumer, memory=kafka)
    await ports.producer.start()
    await ports.fill(count, keys=1)
    async with running(ports, work, **more) as lanes:
        yield lanes
    await ports.producer.stop()


async def first_rests(delivery: Delivery) -> Outcome:
    is_first = number(delivery) == 0 and delivery.dropped_by is None
    return LONG if is_first else Done()


@pytest.mark.parametrize("how", ["busy", "retry"])
async def test_pause_when_a_handler_ends_in_a_rest_meanwhile_then_its_key_goes_on_after_it(
    how: str,
) -> None:
    gate = asyncio.Event()

    async def fail_once(delivery: Delivery) -> Outcome:
        if delivery.deliveries > 1 or number(delivery) > 0:
            return Done()
        await gate.wait()
        if how == "busy":
            raise Busy("full", retry_after_s=0.01)
        return Retry(after=timedelta(milliseconds=10), code="later", detail="x", in_place=True)

    work = Work(fail_once)
    async with lanes_with(work, 2) as lanes:
        await until(lambda: len(work.begun) == 1)

        lanes.pause()
        gate.set()
        await until(lambda: lanes.stats.in_flight == 0)
        lanes.resume()

        await until(lambda: [number(delivery) for delivery in work.begun] == [0, 0, 1])


async def test_withdraw_when_the_record_rests_then_its_key_goes_on_at_once() -> None:
    work = Work(first_rests)
    async with lanes_with(work, 2) as lanes:
        await until(lambda: lanes.stats.resting == 1)

        [withdrawn] = await lanes.withdraw(lambda record: record.value == b"0")

        await until(lambda: work.numbers == [0, 1])
        assert lanes.stats.resting == 0
        lanes.finish(withdrawn, Done())
        await until(lambda: lanes.stats.lag == 0)


async def test_drop_when_the_record_rests_then_it_is_ended_at_once_and_others_rest_on() -> None:
    rules, work = RuleBook(), Work(first_rests)
    async with lanes_with(work, 2, rules=rules) as lanes:
        await until(lambda: lanes.stats.resting == 1)

        rules.put(_drop("other", Selector(tenant="nobody")))
        assert lanes.stats.resting == 1
        rules.put(_drop("all", Selector()))

        await until(lambda: len(work.done) == 3)
        assert [delivery.dropped_by for delivery in work.done] == [None, "all", "all"]


def _drop(name: str, selector: Selector) -> ControlRule:
    now = datetime.now(timezone.utc)
    return ControlRule(name=name, action="drop", selector=selector, at=now)


async def test_withdraw_when_many_wait_then_others_have_the_loop_in_between() -> None:
    looked: list[int] = []
    seen_by_others: list[int] = []

    async def look_on() -> None:
        while True:
            seen_by_others.append(len(looked))
            await asyncio.sleep(0)

    def match(_: object) -> bool:
        looked.append(1)
        return True

    work = Work(first_rests)
    async with lanes_with(work, 3_000) as lanes:
        await until(lambda: lanes.stats.queued == 3_000 and lanes.stats.resting == 1)
        watching = asyncio.create_task(look_on())
        withdrawn = await lanes.withdraw(match)
        watching.cancel()

    steps = [later - earlier for earlier, later in pairwise(seen_by_others)]
    assert len(withdrawn) == len(looked) == 3_000
    assert max(steps) < 1_000


async def test_stop_when_given_no_time_then_running_handlers_are_cut_at_once() -> None:
    gate = asyncio.Event()

    async def wait(_: Delivery) -> Outcome:
        await gate.wait()
        return Done()

    work = Work(wait)
    policy = LanePolicy(drain_timeout=timedelta(minutes=5))
    async with lanes_with(work, 1, policy=policy) as lanes:
        await until(lambda: len(work.begun) == 1)

        with pytest.raises(DrainCut):
            await asyncio.wait_for(lanes.stop(timedelta(0)), 30)
        gate.set()
