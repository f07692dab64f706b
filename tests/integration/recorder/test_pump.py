"""Batches of the recorder's pump: at once while little comes, gathered while much does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from penstock_kit.errors import Fatal
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import Consumer, OutRecord, Record
from recorder.pump import Pump

from tests.support.clock import HandClock
from tests.support.waiting import until

TOPIC = "events"


class Desk:
    """A pump over a topic in memory, and the batches that it handed on."""

    def __init__(self) -> None:
        self.kafka = MemoryKafka([TOPIC])
        self.batches: list[int] = []
        self.faults: list[Fatal] = []
        self.expected: list[Fatal] = []
        self.clock = HandClock()
        self.read = self.polls = 0
        self.pump = Pump(
            self.consumer,
            topics=[TOPIC],
            take=self.take,
            clock=self.clock,
            on_fatal=self.faults.append,
        )

    def consumer(self) -> Consumer:
        consumer = self.kafka.consumer("recorder")
        poll = consumer.poll

        def counted(timeout_s: float, max_records: int) -> list[Record]:
            self.polls += 1
            records = poll(timeout_s, max_records)
            self.read += len(records)
            return records

        consumer.poll = counted  # type: ignore[method-assign]
        return consumer

    async def take(self, records: Sequence[Record]) -> asyncio.Task[None]:
        self.batches.append(len(records))
        return asyncio.create_task(asyncio.sleep(0))

    async def be_silent(self, seconds: int) -> None:
        """Brokers say nothing for so long; polling goes on."""
        for _ in range(seconds):
            self.kafka.faults.unheard_s += 1
            self.clock.advance(timedelta(seconds=1))
            polls = self.polls
            await until(lambda: self.polls > polls)  # noqa: B023 - awaited at once

    async def write(self, count: int) -> None:
        producer = self.kafka.producer()
        await producer.start()
        for number in range(count):
            await producer.send(OutRecord(TOPIC, b"k%d" % number, b"v", []))
        await producer.stop()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await desk.pump.stop()
    assert desk.faults == desk.expected


async def test_batch_of_a_busy_moment_takes_in_what_comes_before_its_pause_is_over(
    desk: Desk,
) -> None:
    await desk.write(200)
    await desk.pump.start()
    await until(lambda: desk.read == 200)
    await desk.write(100)
    await until(lambda: desk.read == 300)
    assert desk.batches == []
    desk.clock.advance(timedelta(seconds=0.1))

    await until(lambda: desk.batches == [300])


async def test_batch_of_a_quiet_moment_is_handed_on_at_once(desk: Desk) -> None:
    await desk.write(3)
    await desk.pump.start()

    await until(lambda: desk.batches == [3])


async def test_batch_that_is_full_waits_for_nothing(desk: Desk) -> None:
    await desk.write(2_000)
    await desk.pump.start()

    await until(lambda: desk.batches == [1_000, 1_000])


async def test_pump_when_no_broker_answers_then_unready_and_later_the_process_ends(
    desk: Desk,
) -> None:
    await desk.pump.start()
    await until(lambda: desk.pump.trouble is None)

    await desk.be_silent(13)
    assert "no broker has answered" in (desk.pump.trouble or "")
    assert desk.faults == []

    await desk.be_silent(28)
    await until(lambda: desk.faults)
    assert "the process must restart" in str(desk.faults[0])
    desk.expected = desk.faults
