"""Hints that jobs wait: one alone at once, many in bursts, none kept back at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from gateway.hints import QueuedHints
from gateway.metrics import GatewayMetrics
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.memory_producer import MemoryProducer
from penstock_kit.kafka.ports import OutRecord, ProducerFull
from penstock_kit.telemetry.metrics import Metrics
from prometheus_client import CollectorRegistry

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
    """Hints into a topic of memory."""

    def __init__(self, kafka: MemoryKafka, room: Room) -> None:
        self.kafka, self.room = kafka, room
        self.registry = CollectorRegistry()
        self.metrics = GatewayMetrics(Metrics(self.registry))

    def hints(self, pause: timedelta) -> QueuedHints:
        return QueuedHints(self.room, self.metrics, pause=pause)  # type: ignore[arg-type]  # all that is used

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


async def test_tell_when_alone_sends_at_once_and_others_follow_together(bench: Bench) -> None:
    hints = bench.hints(SOON)
    for number in range(4):
        hints.tell(OutRecord("t", b"k", b"%d" % number))
    assert bench.written == [b"0"]

    await until(lambda: len(bench.written) >= 4)

    assert bench.written == [b"0", b"1", b"2", b"3"]
    await hints.stop()


async def test_stop_when_hints_wait_sends_them(bench: Bench) -> None:
    hints = bench.hints(NEVER)
    for number in range(3):
        hints.tell(OutRecord("t", b"k", b"%d" % number))

    await hints.stop()
    await hints.stop()

    assert bench.written == [b"0", b"1", b"2"]


async def test_burst_when_there_is_no_room_counts_what_is_lost(bench: Bench) -> None:
    hints = bench.hints(NEVER)
    bench.room.left = 2
    for number in range(5):
        hints.tell(OutRecord("t", b"k", b"%d" % number))

    await hints.stop()

    assert bench.written == [b"0", b"1"]
    lost = bench.registry.get_sample_value(
        "penstock_gateway_degraded_total", {"what": "queued_hint"}
    )
    assert lost == 3
