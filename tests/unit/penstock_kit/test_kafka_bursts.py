"""Bursts: one alone at once, many together, order kept, none kept back at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from penstock_kit.kafka.bursts import Bursts
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.memory_producer import MemoryProducer
from penstock_kit.kafka.ports import OutRecord, ProducerFull

from tests.support.waiting import until

NEVER = timedelta(hours=1)
SOON = timedelta(milliseconds=10)


class Room:
    """A producer's place for so many records."""

    def __init__(self, producer: MemoryProducer) -> None:
        self.producer = producer
        self.left = 1000

    def send_soon(self, record: OutRecord, on_ack: object) -> None:
        if not self.left:
            raise ProducerFull("full")
        self.left -= 1
        self.producer.send_soon(record, on_ack)  # type: ignore[arg-type]  # handed on


class Bench:
    """Bursts into a topic of memory."""

    def __init__(self, kafka: MemoryKafka, room: Room) -> None:
        self.kafka, self.room = kafka, room
        self.dropped: list[int] = []

    def bursts(self, pause: timedelta, *, keeps: bool = False) -> Bursts:
        on_full = None if keeps else self.dropped.append
        return Bursts(self.room, pause=pause, on_full=on_full)  # type: ignore[arg-type]  # all that is used

    @property
    def written(self) -> list[bytes]:
        return [record.value or b"" for record in self.kafka.records("t")]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    kafka = MemoryKafka(["t"], partitions=1)
    producer = kafka.producer()
    await producer.start()
    yield Bench(kafka, Room(producer))
    await producer.stop()


def tell(bursts: Bursts, count: int) -> None:
    for number in range(count):
        bursts.tell(OutRecord("t", b"k", b"%d" % number))


async def test_tell_when_alone_sends_at_once_and_others_follow_together(bench: Bench) -> None:
    bursts = bench.bursts(SOON)
    tell(bursts, 4)
    assert bench.written == [b"0"]

    await until(lambda: len(bench.written) >= 4)

    assert bench.written == [b"0", b"1", b"2", b"3"]
    await bursts.stop()


async def test_acknowledgements_reach_who_asked_for_them(bench: Bench) -> None:
    offsets: list[int] = []
    bursts = Bursts(
        bench.room.producer,
        pause=NEVER,
        on_ack=lambda ack, _: offsets.append(-1 if ack is None else ack.offset),
    )
    tell(bursts, 3)
    await bursts.stop()

    await until(lambda: len(offsets) == 3)

    assert offsets == [0, 1, 2]


async def test_stop_when_records_wait_sends_them(bench: Bench) -> None:
    bursts = bench.bursts(NEVER)
    tell(bursts, 3)

    await bursts.stop()
    await bursts.stop()

    assert bench.written == [b"0", b"1", b"2"]


async def test_drop_when_records_wait_forgets_them(bench: Bench) -> None:
    bursts = bench.bursts(SOON)
    tell(bursts, 3)

    bursts.drop()
    tell(bursts, 1)
    bursts.drop()
    await bursts.stop()

    assert bench.written == [b"0", b"0"]


async def test_flush_when_there_is_no_room_tells_what_is_dropped(bench: Bench) -> None:
    bursts = bench.bursts(NEVER)
    bench.room.left = 2
    tell(bursts, 5)

    assert not bursts.flush()
    bench.room.left = 5

    assert bursts.flush()
    assert bench.written == [b"0", b"1"]
    assert bench.dropped == [3]
    await bursts.stop()


async def test_flush_when_records_are_kept_sends_them_once_there_is_room(bench: Bench) -> None:
    bursts = bench.bursts(NEVER, keeps=True)
    bench.room.left = 2
    tell(bursts, 4)

    assert not bursts.flush()
    tell(bursts, 1)
    bench.room.left = 5

    assert bursts.flush()
    assert bench.written == [b"0", b"1", b"2", b"3", b"0"]
    await bursts.stop()


async def test_burst_when_there_was_no_room_sends_what_was_kept(bench: Bench) -> None:
    bursts = bench.bursts(SOON, keeps=True)
    bench.room.left = 1
    tell(bursts, 3)
    assert not bursts.flush()
    bench.room.left = 5

    await until(lambda: len(bench.written) >= 3)

    assert bench.written == [b"0", b"1", b"2"]
    await bursts.stop()
