"""Records that no client writes: names of headers that are not UTF-8."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import confluent_kafka
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c
from penstock_contracts.topics import DEAD

__all__ = ["BAD_NAME", "kafka_mock", "write_batch"]

BAD_NAME = "x??"
"""A header of this name is written as `x\\xff\\xfe`."""

_CRC_AT = 17
_CRC_OF = 21
"""Offsets in a record batch. Source: Kafka's message format, version 2."""


@pytest.fixture
def kafka_mock() -> Iterator[str]:
    """`host:port` of librdkafka's mock cluster: for what clients do, never for durability.

    It has the topic of dead letters; others are made by who writes to them.
    """
    cluster = confluent_kafka.Producer(
        {"bootstrap.servers": "replaced", "test.mock.num.brokers": 1, "log_level": 0}
    )
    brokers = cluster.list_topics(DEAD.name, timeout=10).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    del cluster


async def write_batch(
    bootstrap: str,
    topic: str,
    records: Sequence[tuple[bytes, bytes, Sequence[tuple[str, bytes]]]],
) -> None:
    """Key, value and headers of each record, as one batch to partition 0."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        batch = producer.create_batch()
        for key, value, headers in records:
            assert batch.append(key=key, value=value, timestamp=None, headers=list(headers))
        batch.close()
        batch._buffer = _with_bad_names(bytes(batch._build()))
        await (await producer.send_batch(batch, topic, partition=0))
    finally:
        await producer.stop()


def _with_bad_names(built: bytes) -> bytearray:
    raw = bytearray(built.replace(BAD_NAME.encode(), b"x\xff\xfe"))
    struct.pack_into(">I", raw, _CRC_AT, calc_crc32c(memoryview(raw)[_CRC_OF:]))
    return raw
