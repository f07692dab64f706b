from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined] # exported in fact, not by the stub
    NewPartitions,
)
from penstock.dev.kafka import KafkaNode, kafka_spec
from penstock.dev.ports import PortPicker
from penstock.dev.process import end_group, run_process
from penstock_contracts.topics import EVENTS
from penstock_kit.clock import SystemClock
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.factory import make_admin
from penstock_kit.kafka.ports import OutRecord
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.settings import KafkaSettings
from penstock_kit.tail.events import EventTail
from penstock_kit.tail.settings import TailSettings
from penstock_kit.tail.tailed import TailedEvent
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.tenancy import TenantScope

from tests.support.events import a_job, an_event, as_record
from tests.support.job_records import IDS, job_id
from tests.support.waiting import until

ACME = TenantScope("acme")


class Log:
    """One events topic of a test's own, and what writes to and reads from it."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self.kafka = kafka
        self.topic = topic
        self.producer = KafkaProducer(kafka)
        self.tails: list[EventTail] = []

    async def write(self, *events: TailedEvent) -> None:
        for event in events:
            await self.producer.send(as_record(event, topic=self.topic))

    async def tail(self, settings: TailSettings | None = None) -> EventTail:
        tail = EventTail(
            self.kafka,
            settings or TailSettings(),
            clock=SystemClock(),
            metrics=Metrics(),
            topic=self.topic,
            ids=IDS,
        )
        self.tails.append(tail)
        await tail.start()
        return tail


@pytest.fixture
async def log(kafka_bootstrap: str) -> AsyncIterator[Log]:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    topic = f"events-{uuid4().hex[:8]}"
    await ensure_topics(kafka, [replace(EVENTS, name=topic, partitions=4)])
    found = Log(kafka, topic)
    await found.producer.start()
    yield found
    for tail in found.tails:
        await tail.stop()
    await found.producer.stop()


async def test_events_about_a_job_of_another_tenant_reach_nobody(log: Log) -> None:
    rival, job = TenantScope("rival"), job_id(1, tenant="acme")
    tail = await log.tail()
    seen: asyncio.Queue[TailedEvent] = asyncio.Queue()
    for scope in (ACME, rival):
        tail.subscribe_scope(scope, seen.put_nowait)

    await log.write(an_event("started", "1-1", job=job, tenant="rival"))
    await log.write(honest := an_event("started", "1-1", job=job))

    assert await asyncio.wait_for(seen.get(), 20) == honest
    assert seen.empty()
    assert tail.recent(rival, job) == []


async def test_start_when_events_were_written_before_then_they_are_kept(log: Log) -> None:
    jobs = [a_job(str(number)) for number in range(8)]
    for job in jobs:
        await log.write(an_event("queued", "0-1", job=job), an_event("started", "1-1", job=job))

    tail = await log.tail()

    kept = {job: [str(event.position) for event in tail.recent(ACME, job)] for job in jobs}
    assert kept == {job: ["0-1", "1-1"] for job in jobs}
    assert tail.problem() is None


async def test_start_when_events_are_older_than_lookback_then_they_are_left_out(log: Log) -> None:
    await log.write(an_event("queued", "0-1"))
    await asyncio.sleep(0.05)  # record times have milliseconds, the look back is one

    tail = await log.tail(TailSettings(lookback=timedelta(milliseconds=1)))
    await log.write(an_event("started", "1-1"))

    await until(lambda: tail.recent(ACME, a_job()))
    assert [str(event.position) for event in tail.recent(ACME, a_job())] == ["1-1"]


async def test_event_when_subscribed_then_handed_on_as_written(log: Log) -> None:
    tail = await log.tail()
    got: asyncio.Queue[TailedEvent] = asyncio.Queue()
    tail.subscribe(ACME, a_job(), got.put_nowait)
    event = an_event("delta", "1-2", text="Grüße 🌍")

    await log.write(event)

    async with asyncio.timeout(10):
        assert await got.get() == event


async def test_event_when_log_is_quiet_then_handed_on_within_milliseconds(log: Log) -> None:
    tail = await log.tail()
    took: list[float] = []
    arrived = asyncio.Event()
    tail.subscribe(ACME, a_job(), lambda _: arrived.set())
    for seq in range(1, 41):
        arrived.clear()
        await log.write(an_event("delta", f"1-{seq}", text="x"))
        written = time.perf_counter()
        async with asyncio.timeout(10):
            await arrived.wait()
        took.append(time.perf_counter() - written)

    # The median after the acknowledgement; generous, because the machine is shared.
    assert sorted(took)[20] < 0.02


async def test_record_when_malformed_then_skipped_and_the_next_one_read(log: Log) -> None:
    tail = await log.tail()
    good = as_record(an_event("started", "1-1"), topic=log.topic)
    for bad in (
        replace(good, value=None),
        replace(good, value=b"no json"),
        replace(good, value=b"{\xff}"),
        replace(good, headers=[]),
        replace(good, headers=[("ce_type", b"penstock.job.started.v1"), ("ce_tenant", b"\xff")]),
        OutRecord(log.topic, b"not a job", good.value, good.headers, partition=0),
        OutRecord(log.topic, None, good.value, good.headers, partition=0),
    ):
        await log.producer.send(bad)

    await log.producer.send(good)

    await until(lambda: tail.recent(ACME, a_job()))
    assert [event.type for event in tail.recent(ACME, a_job())] == ["started"]


async def test_partitions_when_added_then_read_from_their_first_record(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock_kit.tail.events._PROBE_S", 0.1)
    tail = await log.tail()
    admin = make_admin(log.kafka, client_id="test")
    admin.create_partitions([NewPartitions(log.topic, 6)])[log.topic].result(10)
    record = as_record(an_event("started", "1-1"), topic=log.topic)

    async with asyncio.timeout(20):
        await log.producer.send(replace(record, partition=5))
        await until(lambda: tail.recent(ACME, a_job()), within_s=20)


async def test_broker_when_restarted_then_every_event_arrives_once(tmp_path: Path) -> None:
    ports = PortPicker()
    node = KafkaNode(
        data=tmp_path / "kafka", port=ports.pick(), controller_port=ports.pick(), heap="384m"
    )
    spec = kafka_spec(node, log=tmp_path / "kafka.log")
    process = run_process(spec)
    kafka = KafkaSettings(bootstrap=node.bootstrap, delivery_timeout=timedelta(seconds=60))
    try:
        await ensure_topics(kafka, [replace(EVENTS, partitions=2)])
        log = Log(kafka, EVENTS.name)
        await log.producer.start()
        tail = await log.tail()
        got: list[str] = []
        tail.subscribe(ACME, a_job(), lambda event: got.append(str(event.position)))
        await log.write(an_event("started", "1-1"))
        await until(lambda: got)

        await asyncio.to_thread(end_group, process, timeout_s=20)
        process = await asyncio.to_thread(run_process, spec)
        for seq in range(2, 6):
            await log.write(an_event("delta", f"1-{seq}", text="x"))

        await until(lambda: len(got) == 5, within_s=30)
        assert got == ["1-1", "1-2", "1-3", "1-4", "1-5"]
        assert tail.problem() is None
        await tail.stop()
        await log.producer.stop()
    finally:
        await asyncio.to_thread(end_group, process, timeout_s=0)


async def test_stop_when_unstarted_or_twice_then_nothing_happens(log: Log) -> None:
    tail = await log.tail()
    unstarted = EventTail(
        log.kafka, TailSettings(), clock=SystemClock(), metrics=Metrics(), topic=log.topic
    )

    for _ in range(2):
        await tail.stop()
        await unstarted.stop()
