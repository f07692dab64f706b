"""Whose time a record carries: the broker's or the producer's, on both Kafkas."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest
from penstock_kit.kafka.ports import OutRecord, Record

from tests.support.kafka_ports import Ports, plain_topic

PATIENCE_S = 20.0


async def first_of(ports: Ports, topic: str) -> Record:
    """The first record of a topic."""
    consumer = ports.make_consumer(ports.group)

    def read() -> Record:
        consumer.subscribe([topic], lambda _: None)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if records := consumer.poll(0.05, 1):
                consumer.close()
                return records[0]
        raise AssertionError("nothing came")

    return await asyncio.to_thread(read)


@pytest.mark.parametrize("keeps_broker_time", [True, False])
async def test_timestamp_when_topic_keeps_the_brokers_then_ack_and_record_say_so(
    kafka_ports: Ports, *, keeps_broker_time: bool
) -> None:
    topic = f"{kafka_ports.topic}.timed"
    await kafka_ports.create_topic(plain_topic(topic, keeps_broker_time=keeps_broker_time))
    before_ms = time.time() * 1000

    ack = await kafka_ports.producer.send(OutRecord(topic, b"k", b"v"))
    record = await first_of(kafka_ports, topic)

    assert record.is_broker_time is keeps_broker_time
    assert ack.timestamp_ms == (record.timestamp_ms if keeps_broker_time else -1)
    assert abs(record.timestamp_ms - before_ms) < timedelta(minutes=1).total_seconds() * 1000
