"""Kept requests outlive Redis and the request topics; deleted ones stay deleted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path

import pytest
from penstock_contracts.topics import STATE
from penstock_kit.clock import SystemClock
from penstock_kit.intake import Intake
from penstock_kit.jobs.coverage import FoldMarks
from penstock_kit.jobs.epoch import TableEpoch
from penstock_kit.jobs.fold import FoldPolicy, JobFold
from penstock_kit.jobs.publishing import StatePublisher
from penstock_kit.jobs.reading import JobRecords
from penstock_kit.jobs.rebuild import Rebuild
from penstock_kit.jobs.redis_table import RedisJobTable
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import Producer, Record
from penstock_kit.kafka.scan import ScanBatch
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.settings import RedisSettings
from penstock_kit.tasks import TaskCatalog
from penstock_kit.tenancy import TenantScope
from pydantic import SecretStr

from tests.support.job_records import IDS, completed, deleted, job_id, request_record, started
from tests.support.redis_server import native_redis
from tests.support.waiting import redis_answers

KEPT, DELETED = job_id(1), job_id(2)
ACME = TenantScope("acme")
RESPONSE = {"kind": "response", "kept": True}


class Log:
    """Implements `LogScan` over lists."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records

    async def batches(self, topics: Sequence[str]) -> AsyncGenerator[ScanBatch, None]:
        found = [record for record in self.records if record.topic in topics]
        yield ScanBatch(found, 0, {record.place: record.offset + 1 for record in found})


class Recorder:
    """What a recorder is made of, without its consumer."""

    def __init__(self, redis: RedisClient, producer: Producer) -> None:
        self.redis = redis
        self.table = RedisJobTable(redis)
        catalog, clock, policy = TaskCatalog.builtin(), SystemClock(), FoldPolicy()
        self.request_topics = catalog.request_topics()
        self.fold = JobFold(redis, policy)
        self.publisher = StatePublisher(producer, self.fold, clock)
        self.records = JobRecords(
            intake=Intake(tasks=catalog, ids=IDS, secrets=None),
            ids=IDS,
            policy=policy,
            clock=clock,
        )

    async def take(self, records: list[Record]) -> None:
        patches = self.records.patches(records)
        changed = await self.fold.fold(patches)
        await self.publisher.keep_requests(patches)
        await self.publisher.publish(changed)

    async def rebuild(self, log: list[Record]) -> None:
        await Rebuild(
            scan=Log(log),
            records=self.records,
            fold=self.fold,
            publisher=self.publisher,
            epoch=TableEpoch(self.redis),
            marks=FoldMarks(self.redis),
            clock=SystemClock(),
            request_topics=self.request_topics,
        ).run("me")


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisClient]:
    with native_redis(tmp_path) as url:
        client = connect_redis(RedisSettings(url=SecretStr(url)), name="tests")
        await redis_answers(client)
        yield client
        await client.aclose()


def story(job: str, *, offset: int) -> list[Record]:
    return [
        request_record(job, surface=RESPONSE, offset=offset),
        started(job, offset=offset),
        completed(job, (1, 2), offset=offset + 1),
    ]


async def test_rebuild_when_the_request_topics_forgot_then_kept_requests_are_still_there(
    redis: RedisClient,
) -> None:
    kafka = MemoryKafka([STATE.name])
    producer = kafka.producer()
    await producer.start()
    recorder = Recorder(redis, producer)
    await recorder.take([*story(KEPT, offset=0), *story(DELETED, offset=10)])
    await recorder.take([deleted(DELETED, offset=30)])
    state = kafka.records(STATE.name)
    await redis.flushall()

    await recorder.rebuild(state)

    kept = await recorder.table.request(ACME, KEPT)
    assert kept is not None
    assert kept.surface.kind == "response"
    assert await recorder.table.request(ACME, DELETED) is None
    gone = await recorder.table.get(ACME, DELETED)
    assert gone is not None
    assert gone.output is None


async def test_rebuild_when_only_the_log_tells_of_a_deletion_then_it_holds(
    redis: RedisClient,
) -> None:
    producer = MemoryKafka([STATE.name]).producer()
    await producer.start()
    recorder = Recorder(redis, producer)

    await recorder.rebuild([*story(DELETED, offset=0), deleted(DELETED, offset=9)])

    assert await recorder.table.request(ACME, DELETED) is None
    assert (await recorder.table.events(ACME, DELETED)) == []
    assert await redis.exists(ACME.request_key(DELETED)) == 0
