"""Partitions that come, go, return and are lost; brokers that fall silent or refuse."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from penstock_contracts.topics import DEAD
from penstock_kit.errors import Fatal
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.memory_consumer import MemoryConsumer
from penstock_kit.kafka.ports import OutRecord, Record
from penstock_kit.lanes.engine import DrainCut
from penstock_kit.lanes.outcomes import Delivery, Done, Outcome
from penstock_kit.lanes.policy import LanePolicy, Order

from tests.support.clock import HandClock
from tests.support.kafka_ports import Ports
from tests.support.lanes import QUICK, Work, running, until


class Gate:
    """Handlers wait here until it opens."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def __call__(self, _: Delivery) -> Outcome:
        await self.opened.wait()
        return Done()


@pytest.fixture
async def memory() -> AsyncIterator[Ports]:
    kafka = MemoryKafka(["t", DEAD], partitions=3)
    ports = Ports("t", kafka.producer(), kafka.consumer, memory=kafka)
    await ports.producer.start()
    yield ports
    await ports.producer.stop()


async def test_pause_when_members_come_and_go_then_it_still_holds(kafka_ports: Ports) -> None:
    work = Work()
    async with running(kafka_ports, work) as lanes:
        await until(lambda: lanes.stats.assigned == 3)
        lanes.pause()
        await until(lambda: lanes.stats.paused == 3)
        async with running(kafka_ports, Work()) as other:
            await until(lambda: other.stats.assigned > 0 and lanes.stats.assigned < 3)
            await until(lambda: lanes.stats.paused == lanes.stats.assigned)
        await until(lambda: lanes.stats.assigned == lanes.stats.paused == 3)
        await kafka_ports.fill(30)
        await until(lambda: lanes.stats.lag == 0 or lanes.stats.paused == 3)
        assert work.begun == []
        assert lanes.stats.queued == 0

        lanes.resume()

        await until(lambda: len(work.done) == 30)


async def test_revocation_when_a_handler_outlives_its_deadline_then_it_is_left_alone(
    kafka_ports: Ports,
) -> None:
    gate = Gate()
    first, second = Work(gate), Work()
    policy = LanePolicy(revoke_deadline=timedelta(milliseconds=200))
    await kafka_ports.fill(30, keys=30)
    async with running(kafka_ports, first, policy=policy) as one:
        await until(lambda: len(first.begun) == 30)
        async with running(kafka_ports, second, policy=policy) as two:
            await until(lambda: two.stats.assigned > 0)
            moved = set(range(30))
            await until(lambda: len(second.done) > 0)
            assert first.cancelled == 0
            assert one.stats.in_flight == 30
            gate.opened.set()
            await until(lambda: one.stats.in_flight == 0)
            assert {*first.numbers, *second.numbers} == moved
            assert len(second.done) < 30, "what stayed with the first is not repeated"


async def test_expelled_when_it_returns_then_dropped_not_committed_and_in_order(
    memory: Ports,
) -> None:
    """The broker lost sight of the member; the same process gets the partitions again.

    A real broker does so after a time-out: tests/integration stops a process for that.
    """
    assert memory.memory is not None
    gate = Gate()
    at_once: dict[bytes | None, int] = {}
    clashes: list[bytes | None] = []

    async def one_per_key(delivery: Delivery) -> Outcome:
        key = delivery.record.key
        at_once[key] = at_once.get(key, 0) + 1
        if at_once[key] > 1:
            clashes.append(key)
        await gate(delivery)
        at_once[key] -= 1
        return Done()

    consumer = memory.memory.consumer(memory.group)
    await memory.fill(100, keys=5)
    work = Work(one_per_key)
    async with running(memory, work, consumer=consumer) as lanes:
        await until(lambda: len(work.begun) == 5)
        epoch = work.begun[0].epoch
        consumer.expel()
        await until(lambda: lanes.stats.assigned == 3 and lanes.stats.lag == 100)
        await until(lambda: lanes.stats.queued == 100)
        assert lanes.stats.in_flight == 5
        assert len(work.begun) == 5, "their keys wait for the handlers of before"
        assert set(memory.memory.group(memory.group).committed.values()) <= {0}
        gate.opened.set()
        await until(lambda: lanes.stats.lag == 0)

    assert clashes == []
    assert work.numbers == list(range(100)), "nothing lost, nothing done twice in one process"
    assert {delivery.epoch for delivery in work.begun[5:]} != {epoch}


class Frozen:
    """A consumer whose thread stops after `freeze`, like a process by SIGSTOP."""

    def __init__(self, consumer: MemoryConsumer) -> None:
        self.inner = consumer
        self.freeze, self.frozen, self.thaw = (threading.Event() for _ in range(3))

    def poll(self, timeout_s: float, max_records: int) -> list[Record]:
        records = self.inner.poll(timeout_s, max_records)
        if self.freeze.is_set():
            self.frozen.set()
            assert self.thaw.wait(20)
        return records

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.parametrize("is_expelled", [True, False])
async def test_frozen_when_longer_than_the_session_then_nothing_starts_until_confirmed(
    memory: Ports, *, is_expelled: bool
) -> None:
    assert memory.memory is not None
    gate, clock = Gate(), HandClock()
    consumer = Frozen(memory.memory.consumer(memory.group))
    await memory.fill(10, keys=10)
    work = Work(gate)
    async with running(
        memory,
        work,
        policy=LanePolicy(max_in_flight=1),
        consumer=consumer,
        clock=clock,
    ) as lanes:
        await until(lambda: lanes.stats.queued == 9)
        consumer.freeze.set()
        await until(consumer.frozen.is_set)
        clock.advance(timedelta(seconds=11))
        if is_expelled:
            consumer.inner.expel()
        gate.opened.set()
        await until(lambda: len(work.done) == 1 and lanes.stats.in_flight == 0)
        assert len(work.begun) == 1, "who may have lost its partitions starts nothing"
        before = dict(memory.memory.group(memory.group).committed)

        consumer.freeze.clear()
        consumer.thaw.set()
        await until(lambda: set(work.numbers) == set(range(10)) and lanes.stats.lag == 0)
        assert lanes.problem() is None

    assert len(work.begun) == (11 if is_expelled else 10)
    assert all(offset <= 0 for offset in before.values())
    assert not is_expelled or work.begun[1].epoch > work.begun[0].epoch


async def test_frozen_when_a_record_was_chosen_but_not_begun_then_it_waits_for_the_confirmation(
    memory: Ports,
) -> None:
    assert memory.memory is not None
    clock = HandClock()
    silences: list[float] = []
    await memory.fill(2, keys=2)

    async def handle(_: Delivery) -> Outcome:
        silences.append(lanes.stats.silence_s)
        if len(silences) == 1:  # both were chosen: the process sleeps before the second begins
            clock.advance(timedelta(seconds=11))
        return Done()

    async with running(memory, Work(handle), clock=clock) as lanes:
        await until(lambda: len(silences) == 2 and lanes.stats.lag == 0)

    assert silences == [0, 0]


async def test_silent_brokers_when_noticed_then_unready_and_later_fatal(memory: Ports) -> None:
    """Polls go on and return nothing, as they do without a connection."""
    assert memory.memory is not None
    clock, faults = HandClock(), list[Fatal]()
    async with running(memory, Work(), clock=clock, faults=faults) as lanes:
        await until(lambda: lanes.stats.assigned == 3)
        clock.advance(timedelta(seconds=9))
        await until(lambda: lanes.stats.silence_s == 0)
        for _ in range(7):  # a process that was away itself could have heard nobody
            clock.advance(timedelta(seconds=9))
            await until(lambda: lanes.stats.silence_s == 0)
        memory.memory.faults.unheard_s = 16.0
        assert "no broker has answered for 16 s" in (lanes.problem() or "")
        assert faults == []

        memory.memory.faults.unheard_s = 61.0
        await until(lambda: len(faults) == 1)
        assert "no broker has answered" in str(faults[0])


async def test_stop_when_brokers_are_silent_does_not_wait_for_what_cannot_be_written(
    memory: Ports,
) -> None:
    assert memory.memory is not None
    gate, faults = Gate(), list[Fatal]()
    policy = replace(
        QUICK,
        revoke_deadline=timedelta(milliseconds=50),
        stall_unready=timedelta(milliseconds=300),
        stall_fatal=timedelta(milliseconds=600),
        drain_timeout=timedelta(minutes=5),
        drain_unheard=timedelta(milliseconds=50),
    )
    await memory.fill(1)
    async with running(memory, Work(gate), policy=policy, faults=faults) as lanes:
        await until(lambda: lanes.stats.in_flight == 1)
        memory.memory.faults.unheard_s = 61.0
        await until(lambda: len(faults) == 1)

        async with asyncio.timeout(20):
            with pytest.raises(DrainCut):
                await lanes.stop()
        gate.opened.set()


async def test_commits_when_refused_then_work_goes_on_unready_and_all_is_committed_later(
    memory: Ports,
) -> None:
    assert memory.memory is not None
    memory.memory.faults.refuse_commits = True
    quick = replace(
        QUICK,
        revoke_deadline=timedelta(milliseconds=50),
        stall_unready=timedelta(milliseconds=300),
        span_cap=100,
        queue_per_partition=20,
    )
    await memory.fill(300, keys=30)
    work = Work()
    async with running(memory, work, policy=quick) as lanes:
        await until(lambda: "taken no commit" in (lanes.problem() or ""))
        begun = len(work.begun)
        assert 0 < begun <= 300
        most = max(delivery.record.offset for delivery in work.begun)
        assert most < quick.suspect_span, "nothing starts that a successor would not suspect"

        memory.memory.faults.refuse_commits = False

        await until(lambda: len(work.done) == 300 and lanes.problem() is None)
        group = memory.memory.group(memory.group)
        await until(lambda: sum(group.committed.values()) == 300)


@pytest.mark.parametrize("max_in_flight", [4096])
async def test_order_none_when_records_share_keys_then_all_run_at_once(
    kafka_ports: Ports, max_in_flight: int
) -> None:
    gate = Gate()
    policy = LanePolicy(max_in_flight=max_in_flight, order=Order.NONE)
    producer, topic = kafka_ports.producer, kafka_ports.topic
    for start in range(0, 4200, 300):
        await asyncio.gather(
            *(
                producer.send(OutRecord(topic, b"key-%d" % (n % 3), b"%d" % n))
                for n in range(start, start + 300)
            )
        )
    work = Work(gate)
    async with running(kafka_ports, work, policy=policy) as lanes:
        await until(lambda: len(work.begun) == max_in_flight)
        assert lanes.stats.in_flight == max_in_flight
        gate.opened.set()
        await until(lambda: lanes.stats.lag == 0)
    assert work.numbers == list(range(4200))
