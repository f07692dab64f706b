"""Both Kafkas for suites that must hold on each: in memory, and real by either protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import pytest
from penstock_contracts.topics import DEAD, Cleanup, Topic
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import Ack, Consumer, OutRecord, Producer
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.settings import KafkaSettings

__all__ = ["PARTITIONS", "Ports", "kafka_ports", "plain_topic"]

PARTITIONS = 3


async def _no_topics(topic: Topic) -> object:
    raise NotImplementedError(f"this Kafka makes no topics: {topic.name}")


@dataclass
class Ports:
    """One Kafka with a fresh topic: makes producers and consumers."""

    topic: str
    producer: Producer
    make_consumer: Callable[[str], Consumer]
    create_topic: Callable[[Topic], Awaitable[object]] = _no_topics
    memory: MemoryKafka | None = None
    bootstrap: str | None = None
    group: str = field(default_factory=lambda: f"group-{uuid4().hex[:8]}")

    async def fill(self, count: int, *, keys: int = 10, start: int = 0) -> list[Ack]:
        """Records numbered from `start`, in order per key."""
        return [
            await self.producer.send(
                OutRecord(self.topic, b"key-%d" % (n % keys), b"%d" % n, [("n", b"%d" % n)])
            )
            for n in range(start, start + count)
        ]


@pytest.fixture(params=["memory", "classic", "consumer"])
async def kafka_ports(request: pytest.FixtureRequest) -> AsyncIterator[Ports]:
    """Memory, then a real broker with both rebalance protocols."""
    topic = f"ports-{uuid4().hex[:8]}"
    if request.param == "memory":
        kafka = MemoryKafka([topic, DEAD], partitions=PARTITIONS)

        async def create(new: Topic) -> None:
            kafka.create_topic(new)

        memory = Ports(topic, kafka.producer(), kafka.consumer, create, memory=kafka)
        await memory.producer.start()
        yield memory
        await memory.producer.stop()
        return
    bootstrap = request.getfixturevalue("kafka_bootstrap")
    settings = KafkaSettings(bootstrap=bootstrap, group_protocol=request.param)
    await ensure_topics(settings, [plain_topic(topic), DEAD], partitions=PARTITIONS)
    real = Ports(
        topic,
        KafkaProducer(settings),
        lambda group: GroupConsumer(settings, group),
        lambda new: ensure_topics(settings, [new], partitions=PARTITIONS),
        bootstrap=bootstrap,
    )
    await real.producer.start()
    yield real
    await real.producer.stop()


def plain_topic(name: str, **changes: Any) -> Topic:
    """A topic for tests; `changes` to what a plain one is."""
    plain = Topic(
        name=name,
        key="any",
        about="A test.",
        partitions=PARTITIONS,
        cleanup=Cleanup.DELETE,
        retention_ms=None,
        messages=(),
        written_by=(),
        read_by=(),
    )
    return replace(plain, **changes)
