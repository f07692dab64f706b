"""The recorder as a process, on a real Kafka and a Redis of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from penstock_contracts.codec import decode_model
from penstock_contracts.events import JobStatus
from penstock_contracts.state import JobState
from penstock_contracts.topics import STATE
from penstock_kit.jobs.stored import EPOCH_KEY
from penstock_kit.kafka.ports import Record
from penstock_kit.kafka.scan import KafkaScan
from penstock_kit.settings import KafkaSettings
from penstock_kit.tenancy import TenantScope

from tests.support.job_records import completed, delta, job_id, request_record, started
from tests.support.recorder import Ground, running_ground, running_recorder
from tests.support.redis_server import native_redis
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def tenant() -> str:
    return f"t{uuid4().hex[:12]}"


@pytest.fixture
async def ground(kafka_bootstrap: str, tmp_path: Path) -> AsyncIterator[Ground]:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    with native_redis(tmp_path) as url:
        async with running_ground(kafka, url, tmp_path) as ground:
            yield ground


def a_life(tenant: str, number: int) -> list[Record]:
    job = job_id(number, tenant=tenant)
    return [
        request_record(job, tenant=tenant),
        started(job, tenant=tenant),
        delta(job, (1, 2), "a", tenant=tenant),
        completed(job, (1, 3), f"answer {number}", tenant=tenant),
    ]


async def newest_states(ground: Ground, tenant: str) -> dict[str, JobState]:
    newest: dict[str, JobState] = {}
    async for batch in KafkaScan(ground.kafka).batches([STATE.name]):
        for record in batch.records:
            state = decode_model(JobState, record.value or b"")
            if state.tenant == tenant:
                newest[state.job] = state
    return newest


async def all_states(ground: Ground, tenant: str, count: int) -> dict[str, JobState]:
    page = await ground.table.page(TenantScope(tenant), limit=count + 1)
    return {state.job: state for state in page.jobs}


async def test_jobs_are_folded_published_and_forgeries_left_out(
    ground: Ground, tenant: str
) -> None:
    job, forged = job_id(1, tenant=tenant), job_id(2, tenant=tenant)
    rival = f"{tenant}-rival"
    forgeries = [
        request_record(forged, tenant=rival),
        started(forged, tenant=rival),
        replace(request_record(forged, tenant=tenant), value=b"{"),
        replace(started(forged, tenant=tenant), headers=()),
    ]

    async with running_recorder(ground) as recorder:
        await ground.write([*forgeries, *a_life(tenant, 1)])
        await ground.until(tenant, job, JobStatus.COMPLETED)
        await eventually(lambda: ground.redis.exists(EPOCH_KEY), within_s=120)
        recorder.send_signal(signal.SIGTERM)
        assert await recorder.wait() == 0

    assert await ground.table.get(TenantScope(tenant), forged) is None
    assert await ground.table.get(TenantScope(rival), forged) is None
    events = await ground.table.events(TenantScope(tenant), job)
    assert [event.type for event in events] == ["started", "delta", "completed"]
    published = await newest_states(ground, tenant)
    assert published == {job: await ground.table.get(TenantScope(tenant), job)}


async def test_recorder_when_killed_goes_on_where_it_was(ground: Ground, tenant: str) -> None:
    first, second = job_id(1, tenant=tenant), job_id(2, tenant=tenant)

    async with running_recorder(ground, name="one") as recorder:
        await ground.write(a_life(tenant, 1))
        await ground.until(tenant, first, JobStatus.COMPLETED)
        recorder.kill()
        await recorder.wait()
    await ground.write(a_life(tenant, 2))
    async with running_recorder(ground, name="two"):
        await ground.until(tenant, second, JobStatus.COMPLETED)

        async def both_are_published() -> bool:
            return {
                job: state.status for job, state in (await newest_states(ground, tenant)).items()
            } == dict.fromkeys((first, second), JobStatus.COMPLETED)

        await eventually(both_are_published, within_s=120)

    counts = await ground.redis.hgetall(TenantScope(tenant).counts_key())
    assert {status: int(count) for status, count in counts.items() if int(count)} == {
        b"completed": 2
    }


async def test_table_after_flush_under_load_is_as_if_nothing_had_happened(
    ground: Ground, tenant: str
) -> None:
    jobs = 60

    async def load() -> None:
        for number in range(jobs):
            await ground.write(a_life(tenant, number))

    async def is_complete() -> bool:
        whole = await ground.redis.exists(EPOCH_KEY)
        states = await all_states(ground, tenant, jobs)
        ended = [state for state in states.values() if state.status is JobStatus.COMPLETED]
        return bool(whole) and len(ended) == jobs

    async with running_recorder(ground):
        await eventually(lambda: ground.redis.exists(EPOCH_KEY), within_s=120)
        loading = asyncio.create_task(load())
        await ground.until(tenant, job_id(20, tenant=tenant), JobStatus.COMPLETED)
        await ground.redis.flushall()
        await loading
        await eventually(is_complete, within_s=120)
        before = await all_states(ground, tenant, jobs)
        await ground.redis.flushall()
        await eventually(is_complete, within_s=120)

        assert await all_states(ground, tenant, jobs) == before
        last = await ground.state(tenant, job_id(jobs - 1, tenant=tenant))
        assert last is not None
        assert last.output is not None
        counts = await ground.redis.hgetall(TenantScope(tenant).counts_key())
        assert {k: int(v) for k, v in counts.items() if int(v)} == {b"completed": jobs}
        published = await newest_states(ground, tenant)
        assert {s.status for s in published.values()} == {JobStatus.COMPLETED}


async def test_records_when_redis_is_away_wait_and_are_not_lost(
    kafka_bootstrap: str, tmp_path: Path, tenant: str
) -> None:
    job = job_id(1, tenant=tenant)
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    with native_redis(tmp_path, keep=True) as url:
        async with running_ground(kafka, url, tmp_path) as ground, running_recorder(ground):
            await eventually(lambda: ground.redis.exists(EPOCH_KEY), within_s=120)
            pid = int((await ground.redis.info("server"))["process_id"])
            signal_process(pid, signal.SIGSTOP)
            try:
                await ground.write(a_life(tenant, 1))
                await asyncio.sleep(3)  # several time-outs of the recorder's client
            finally:
                signal_process(pid, signal.SIGCONT)
            await ground.until(tenant, job, JobStatus.COMPLETED)


def signal_process(pid: int, number: signal.Signals) -> None:
    import os  # noqa: PLC0415 - used here only

    os.kill(pid, number)
