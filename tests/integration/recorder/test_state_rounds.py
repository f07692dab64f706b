"""A job that changes several times in a moment is written to the state topic once, in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from penstock_contracts.topics import STATE
from penstock_kit.clock import SystemClock
from penstock_kit.errors import Fatal
from penstock_kit.jobs.fold import Changed, FoldPolicy, JobFold
from penstock_kit.jobs.patches import JobPatch, patch_of_event, patch_of_request
from penstock_kit.jobs.publishing import StatePublisher
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import BrokerFault
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.settings import RedisSettings
from penstock_kit.telemetry.metrics import Metrics
from pydantic import SecretStr
from recorder.metrics import RecorderMetrics
from recorder.state_rounds import StateRounds

from tests.support.job_records import IDS, completed, job_id, request_record, started, verified
from tests.support.redis_server import native_redis
from tests.support.waiting import redis_answers

JOB = job_id(1)
SURFACE = {"kind": "response", "kept": True}


class Desk:
    """A fold on Redis and rounds over a topic in memory, all real but the broker."""

    def __init__(self, redis: RedisClient, kafka: MemoryKafka) -> None:
        self.kafka = kafka
        self.producer = kafka.producer()
        self.fold = JobFold(redis, FoldPolicy())
        self.faults: list[Fatal] = []
        self.rounds = StateRounds(
            StatePublisher(self.producer, self.fold, SystemClock()),
            metrics=RecorderMetrics(Metrics()),
            on_fatal=self.faults.append,
            gather_s=0.05,
        )

    async def changes(self, patch: JobPatch) -> list[Changed]:
        return await self.fold.fold([patch])

    def states(self) -> list[str]:
        found = [one for one in self.kafka.records(STATE.name) if one.key == JOB.encode()]
        return [orjson.loads(one.value or b"")["status"] for one in found]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    with native_redis(tmp_path) as url:
        client = connect_redis(RedisSettings(url=SecretStr(url)), name="tests")
        await redis_answers(client)
        desk = Desk(client, MemoryKafka([STATE.name]))
        await desk.producer.start()
        yield desk
        await client.aclose()


async def test_round_holds_each_job_once_in_its_newest_version(desk: Desk) -> None:
    patches = [
        patch_of_request(verified(request_record(JOB))),
        patch_of_event(started(JOB), ids=IDS),
        patch_of_event(completed(JOB, (1, 2), offset=5), ids=IDS),
    ]
    tasks = [desk.rounds.add(await desk.changes(patch), [patch]) for patch in patches]
    for task in tasks:
        await task

    assert desk.states() == ["completed"]
    assert await desk.fold.fold(patches) == []  # the table knows that the topic has it


async def test_round_when_it_is_being_written_leaves_what_comes_to_the_next(desk: Desk) -> None:
    first = patch_of_event(started(JOB), ids=IDS)
    await desk.rounds.add(await desk.changes(first), [first])
    second = patch_of_event(completed(JOB, (1, 2), offset=5), ids=IDS)
    await desk.rounds.add(await desk.changes(second), [second])

    assert desk.states() == ["running", "completed"]


async def test_round_writes_requests_that_are_to_be_kept(desk: Desk) -> None:
    patch = patch_of_request(verified(request_record(JOB, surface=SURFACE)))
    await desk.rounds.add([], [patch])

    assert [one.key for one in desk.kafka.records(STATE.name)] == [f"{JOB}:request".encode()]


async def test_round_when_nothing_can_be_written_fails_all_its_batches(desk: Desk) -> None:
    patch = patch_of_event(started(JOB), ids=IDS)
    waiting = [desk.rounds.add(await desk.changes(patch), [patch]) for _ in range(2)]
    await desk.producer.stop()

    for task in waiting:
        with pytest.raises(BrokerFault):
            await task
    assert desk.faults
