"""A rebuild decodes of ended jobs only what may still tell something."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from penstock_contracts.events import JobStatus
from penstock_contracts.topics import EVENTS, STATE
from penstock_kit.clock import SystemClock
from penstock_kit.intake import Intake
from penstock_kit.jobs.coverage import FoldMarks
from penstock_kit.jobs.epoch import TableEpoch
from penstock_kit.jobs.facets import join
from penstock_kit.jobs.fold import Changed, FoldPolicy, JobFold
from penstock_kit.jobs.patches import patch_of_event, patch_of_request
from penstock_kit.jobs.publishing import StatePublisher
from penstock_kit.jobs.reading import JobRecords
from penstock_kit.jobs.rebuild import Rebuild
from penstock_kit.jobs.redis_table import RedisJobTable
from penstock_kit.jobs.state_records import state_record
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import Record
from penstock_kit.kafka.scan import ScanBatch
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.settings import RedisSettings
from penstock_kit.tasks import TaskCatalog
from penstock_kit.tenancy import TenantScope
from pydantic import SecretStr

from tests.support.job_records import (
    IDS,
    T0,
    completed,
    delta,
    job_id,
    request_record,
    started,
    verified,
)
from tests.support.redis_server import native_redis
from tests.support.waiting import redis_answers

ENDED, RUNNING = job_id(1), job_id(2)
ACME = TenantScope("acme")


class Log:
    """Implements `LogScan` over lists."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records

    async def batches(self, topics: Sequence[str]) -> AsyncGenerator[ScanBatch, None]:
        found = [record for record in self.records if record.topic in topics]
        ends = {record.place: record.offset + 1 for record in found}
        yield ScanBatch(found, 0, ends)


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisClient]:
    with native_redis(tmp_path) as url:
        client = connect_redis(RedisSettings(url=SecretStr(url)), name="tests")
        await redis_answers(client)
        yield client
        await client.aclose()


def broken(record: Record) -> Record:
    return replace(record, value=b"{}")


def topics_of_two_jobs() -> list[Record]:
    """One that the state topic knows as ended, by its second attempt; one that runs."""
    request = request_record(ENDED, metadata={"k": "v"})
    ended = [
        started(ENDED, 1, offset=0),
        broken(delta(ENDED, (1, 2), offset=1)),
        started(ENDED, 2, offset=2),
        completed(ENDED, (2, 2), "fresh", offset=3),
    ]
    facets = patch_of_request(verified(request)).facets
    for record in (ended[0], *ended[2:]):
        facets = join(facets, patch_of_event(record, ids=IDS).facets)
    out = state_record(Changed("acme", ENDED, 1, facets), now=T0)
    at_ms = int(T0.timestamp() * 1000)
    return [
        Record(STATE.name, 0, 0, out.key, out.value, out.headers, at_ms),
        broken(request),
        request_record(RUNNING, offset=1),
        *ended,
        completed(ENDED, (1, 3), "stale", offset=4),
        started(RUNNING, offset=5),
        delta(RUNNING, (1, 2), offset=6),
        broken(delta(RUNNING, (1, 3), offset=7)),
    ]


async def test_rebuild_when_the_state_topic_knows_an_end_then_only_news_are_decoded(
    redis: RedisClient,
) -> None:
    skipped: list[tuple[str, int]] = []
    catalog = TaskCatalog.builtin()
    producer = MemoryKafka([STATE.name]).producer()
    await producer.start()
    fold, marks, epoch = JobFold(redis, FoldPolicy()), FoldMarks(redis), TableEpoch(redis)
    rebuild = Rebuild(
        scan=Log(topics_of_two_jobs()),
        records=JobRecords(
            intake=Intake(tasks=catalog, ids=IDS, secrets=None),
            ids=IDS,
            policy=FoldPolicy(),
            clock=SystemClock(),
            on_skip=lambda record, _error: skipped.append((record.topic, record.offset)),
        ),
        fold=fold,
        publisher=StatePublisher(producer, fold, SystemClock()),
        epoch=epoch,
        marks=marks,
        clock=SystemClock(),
        request_topics=catalog.request_topics(),
    )

    await rebuild.run("me")

    ended = await RedisJobTable(redis).get(ACME, ENDED)
    running = await RedisJobTable(redis).get(ACME, RUNNING)
    assert ended is not None
    assert (ended.status, ended.attempt, ended.metadata) == (JobStatus.COMPLETED, 2, {"k": "v"})
    assert ended.superseded is not None, "a zombie's end came after the state was written"
    assert running is not None
    assert running.status is JobStatus.RUNNING
    assert [event.type for event in await RedisJobTable(redis).events(ACME, RUNNING)] == [
        "started",
        "delta",
    ]
    assert skipped == [(EVENTS.name, 7)], "of the ended job nothing broken was looked at"
    assert await marks.read() == {0: 8}
    assert (await epoch.look()).is_whole
