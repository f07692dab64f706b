"""One suite for both scans: every record once, in order per partition, and then an end."""

from __future__ import annotations

import pytest
from penstock_kit.kafka.memory_scan import MemoryScan
from penstock_kit.kafka.ports import Record
from penstock_kit.kafka.scan import KafkaScan, LogScan
from penstock_kit.settings import KafkaSettings

from tests.support.kafka_ports import Ports


@pytest.fixture
def scan(kafka_ports: Ports) -> LogScan:
    if kafka_ports.memory is not None:
        return MemoryScan(kafka_ports.memory)
    assert kafka_ports.bootstrap is not None
    return KafkaScan(KafkaSettings(bootstrap=kafka_ports.bootstrap))


async def _read(scan: LogScan, *topics: str) -> list[Record]:
    return [record async for batch in scan.batches(topics) for record in batch.records]


async def test_batches_give_every_record_once_in_order_per_partition(
    kafka_ports: Ports, scan: LogScan
) -> None:
    written = {(ack.partition, ack.offset) for ack in await kafka_ports.fill(700)}

    found = [(record.partition, record.offset) for record in await _read(scan, kafka_ports.topic)]

    assert len(found) == 700
    assert set(found) == written
    for number in {partition for partition, _ in found}:
        offsets = [offset for partition, offset in found if partition == number]
        assert offsets == sorted(offsets)


async def test_batches_twice_begin_at_the_beginning_again(
    kafka_ports: Ports, scan: LogScan
) -> None:
    await kafka_ports.fill(10)

    assert len(await _read(scan, kafka_ports.topic)) == 10
    assert len(await _read(scan, kafka_ports.topic)) == 10


async def test_batches_when_topic_does_not_exist_then_empty(scan: LogScan) -> None:
    assert await _read(scan, "no-such-topic") == []
