"""The fold in Redis and in memory against a reference that simply reads the log in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from penstock_contracts.state import JobState
from penstock_kit.jobs.fold import Changed, FoldPolicy, JobFold
from penstock_kit.jobs.memory_table import MemoryJobTable
from penstock_kit.jobs.patches import JobPatch, patch_of_event
from penstock_kit.jobs.redis_table import RedisJobTable
from penstock_kit.jobs.state_records import patch_of_state, state_record
from penstock_kit.kafka.ports import Record
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.settings import RedisSettings
from penstock_kit.tenancy import TenantScope
from pydantic import SecretStr

from tests.support.job_records import IDS, T0, completed, event_record, job_id, started
from tests.support.whole_table import declare_whole

ERROR = {"type": "server_error", "code": "c", "message": "m"}


class Written(NamedTuple):
    """An event of the log: which attempt, and what it says."""

    attempt: int
    kind: str


LOGS = st.lists(
    st.builds(Written, st.integers(1, 4), st.sampled_from(["started", "completed", "failed"])),
    min_size=1,
    max_size=9,
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def expected(log: list[Written]) -> tuple[str | None, int | None, int, str]:
    """Status and attempt of the end, how many other attempts ended, and the text of the result."""
    end: tuple[str, int, str] | None = None
    newest, ended = 0, set()
    for offset, event in enumerate(log):
        if event.kind == "started":
            newest = max(newest, event.attempt)
            continue
        ended.add(event.attempt)
        if end is None and newest <= event.attempt:
            end = (event.kind, event.attempt, str(offset) if event.kind == "completed" else "")
    if end is None:
        return None, None, len(ended), ""
    return end[0], end[1], len(ended - {end[1]}), end[2]


def told(state: JobState | None) -> tuple[str | None, int | None, int, str]:
    """The same of a state."""
    count = state.superseded.count if state is not None and state.superseded is not None else 0
    if state is None or not state.status.is_terminal:
        return None, None, count, ""
    text = state.output.choices[0].text if state.output and state.output.kind == "chat" else ""
    return state.status.value, state.attempt, count, text


def records(log: list[Written], job: str, tenant: str) -> list[Record]:
    made = []
    for offset, event in enumerate(log):
        place = (event.attempt, 1 if event.kind == "started" else 2)
        if event.kind == "started":
            crashes = event.attempt - 1 or None
            about: dict[str, Any] = {"tenant": tenant, "offset": offset, "crashes": crashes}
            made.append(started(job, event.attempt, **about))
        elif event.kind == "completed":
            made.append(completed(job, place, str(offset), tenant=tenant, offset=offset))
        else:
            failed = event_record(
                job, "failed", place, tenant=tenant, offset=offset, error=ERROR, usage={}
            )
            made.append(failed)
    return made


def as_state(change: Changed, offset: int) -> JobPatch:
    """What a rebuild reads of it in the state topic."""
    out = state_record(change, now=T0)
    return patch_of_state(Record(out.topic, 0, offset, out.key, out.value, out.headers))


async def fold_all(
    redis: RedisClient, tenant: str, job: str, batches: list[list[JobPatch]]
) -> tuple[JobState | None, JobState | None, list[Changed]]:
    """The job as Redis and as memory have it after these batches, and what is to be published."""
    memory, fold = MemoryJobTable(), JobFold(redis, FoldPolicy())
    newest: list[Changed] = []
    for batch in batches:
        newest = await fold.fold(batch) or newest
        for patch in batch:
            memory.fold(patch)
    scope = TenantScope(tenant)
    return await RedisJobTable(redis).get(scope, job), await memory.get(scope, job), newest


@given(log=LOGS, data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_fold_in_any_order_with_repetitions_is_what_the_log_says_in_order(
    loop: asyncio.Runner, redis_url: str, log: list[Written], data: st.DataObject
) -> None:
    tenant = f"t{uuid4().hex[:12]}"
    job = job_id(1, tenant=tenant)
    patches = [patch_of_event(record, ids=IDS) for record in records(log, job, tenant)]
    order = data.draw(st.permutations([*range(len(patches)), *range(0, len(patches), 2)]))
    size = data.draw(st.integers(1, 4))
    batches = [
        [patches[at] for at in order[cut : cut + size]] for cut in range(0, len(order), size)
    ]

    async def run() -> None:
        redis = connect_redis(RedisSettings(url=SecretStr(redis_url)), name="tests")
        await declare_whole(redis)
        in_redis, in_memory, changed = await fold_all(redis, tenant, job, batches)

        assert told(in_redis) == told(in_memory) == expected(log)
        begun = [event.attempt for event in log if event.kind == "started"]
        assert changed[-1].facets.crashes == max(begun, default=1) - 1

        # Redis is lost; the state topic has the newest version, the log is read again behind it.
        await redis.delete(TenantScope(tenant).job_key(job))
        states = [as_state(change, 7) for change in changed[-1:]]
        rebuilt, _, _ = await fold_all(redis, tenant, job, [states])
        assert told(rebuilt) == expected(log)
        again, _, _ = await fold_all(redis, tenant, job, [patches, states])
        assert told(again) == expected(log)
        await redis.aclose()

    loop.run(run())
