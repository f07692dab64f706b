"""The lag of groups on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from penstock_contracts.topics import Cleanup, Topic
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.lag import GroupLag, LagPoller
from penstock_kit.kafka.ports import OutRecord, TopicPartition
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.lanes.notes import encode_note
from penstock_kit.settings import KafkaSettings


def make_topic() -> Topic:
    return Topic(
        name=f"test.lag.{uuid4().hex[:8]}",
        key="any",
        about="test",
        partitions=3,
        cleanup=Cleanup.DELETE,
        retention_ms=3_600_000,
        messages=(),
        written_by=(),
        read_by=(),
    )


class Seen:
    """What a poller told last, and whether it failed."""

    def __init__(self) -> None:
        self.lag: GroupLag | None = None
        self.failures = 0
        self.told = asyncio.Event()

    def on_lag(self, lag: GroupLag) -> None:
        self.lag = lag
        self.told.set()

    def on_failure(self) -> None:
        self.failures += 1
        self.told.set()

    async def until(self, group: str, topic: str, records: int) -> None:
        async with asyncio.timeout(30):
            while self.lag is None or self.lag.records[group][topic] != records:
                self.told.clear()
                await self.told.wait()


@pytest.fixture
async def producer(kafka_bootstrap: str) -> AsyncIterator[KafkaProducer]:
    producer = KafkaProducer(KafkaSettings(bootstrap=kafka_bootstrap))
    await producer.start()
    yield producer
    await producer.stop()


async def test_lag_counts_what_lies_behind_the_committed_offset(
    kafka_bootstrap: str, producer: KafkaProducer
) -> None:
    settings, topic = KafkaSettings(bootstrap=kafka_bootstrap), make_topic()
    group, absent = f"g-{uuid4().hex[:8]}", "test.lag.absent"
    await ensure_topics(settings, [topic])
    seen = Seen()
    poller = make_poller(settings, {group: (topic.name, absent)}, seen)
    await poller.start()

    await seen.until(group, topic.name, 0)
    for number in range(10):
        record = OutRecord(topic=topic.name, key=None, value=b"x", headers=[], partition=number % 2)
        await producer.send(record)
    await seen.until(group, topic.name, 10)  # without a commit: all that there is
    await asyncio.to_thread(commit, settings, group, topic.name)
    await seen.until(group, topic.name, 7)
    await poller.stop()
    await poller.stop()

    assert seen.lag is not None
    assert seen.lag.records[group][absent] == 0
    assert seen.failures == 0


async def test_lag_when_one_record_is_slow_leaves_out_what_finished_beyond_it(
    kafka_bootstrap: str, producer: KafkaProducer
) -> None:
    settings, topic = KafkaSettings(bootstrap=kafka_bootstrap), make_topic()
    group = f"g-{uuid4().hex[:8]}"
    await ensure_topics(settings, [topic])
    await fill(producer, topic.name, 10)
    seen = Seen()
    poller = make_poller(settings, {group: (topic.name,)}, seen)
    await poller.start()
    await seen.until(group, topic.name, 10)

    note = encode_note(3, [4, 5, 6, 8])
    await asyncio.to_thread(commit, settings, group, topic.name, note=note)
    await seen.until(group, topic.name, 3)  # 3, which is slow, and 7 and 9
    note = encode_note(3, [4, 5, 6, 7, 8, 9])
    await asyncio.to_thread(commit, settings, group, topic.name, note=note)
    await seen.until(group, topic.name, 1)
    await poller.stop()


async def test_lag_when_a_group_never_was_in_a_shared_topic_counts_nothing_of_it(
    kafka_bootstrap: str, producer: KafkaProducer
) -> None:
    settings, topic = KafkaSettings(bootstrap=kafka_bootstrap), make_topic()
    active, absent = f"g-{uuid4().hex[:8]}", f"g-{uuid4().hex[:8]}"
    await ensure_topics(settings, [topic])
    await fill(producer, topic.name, 10)
    await asyncio.to_thread(commit, settings, active, topic.name)
    groups = {active: (topic.name,), absent: (topic.name,)}
    seen = Seen()
    poller = make_poller(settings, groups, seen, shared=[topic.name])
    await poller.start()

    await seen.until(active, topic.name, 7)
    assert seen.lag is not None
    assert seen.lag.records[absent][topic.name] == 0

    await asyncio.to_thread(commit, settings, absent, topic.name)
    await seen.until(absent, topic.name, 7)
    await poller.stop()


def make_poller(
    settings: KafkaSettings,
    groups: Mapping[str, Sequence[str]],
    seen: Seen,
    *,
    shared: Sequence[str] = (),
) -> LagPoller:
    return LagPoller(
        settings,
        groups,
        on_lag=seen.on_lag,
        on_failure=seen.on_failure,
        shared=shared,
        every=timedelta(milliseconds=100),
    )


async def fill(producer: KafkaProducer, topic: str, records: int) -> None:
    """Write so many into partition 0."""
    for _ in range(records):
        await producer.send(OutRecord(topic=topic, key=None, value=b"x", headers=[], partition=0))


def commit(settings: KafkaSettings, group: str, topic: str, *, note: str = "") -> None:
    """Read and commit three records of partition 0, with a note of what lies finished beyond."""
    consumer = GroupConsumer(settings, group)
    consumer.subscribe([topic], lambda _: None)
    while not consumer.poll(1.0, 1):
        pass
    place = TopicPartition(topic, 0)
    consumer.commit({place: 3}, wait=True, notes={place: note})
    consumer.close()


async def test_lag_when_no_broker_answers_tells_of_failures() -> None:
    seen = Seen()
    poller = LagPoller(
        KafkaSettings(bootstrap="127.0.0.1:1"),
        {"g": ("t",)},
        on_lag=seen.on_lag,
        on_failure=seen.on_failure,
    )
    await poller.start()
    async with asyncio.timeout(30):
        await seen.told.wait()
    await poller.stop()

    assert (seen.lag, seen.failures) == (None, 1)
