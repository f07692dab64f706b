"""Every job table keeps the same contract: the one in Redis and the one in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from penstock_contracts.catalog import CE_DELETED
from penstock_contracts.events import JobStatus, Position
from penstock_kit.jobs.fold import FoldPolicy, JobFold
from penstock_kit.jobs.memory_table import MemoryJobTable
from penstock_kit.jobs.patches import JobPatch, patch_of_deletion, patch_of_event, patch_of_request
from penstock_kit.jobs.redis_table import RedisJobTable
from penstock_kit.jobs.stored import EPOCH_KEY
from penstock_kit.jobs.view import JobTable
from penstock_kit.kafka.ports import Record
from penstock_kit.redis_client import connect_redis
from penstock_kit.settings import RedisSettings
from penstock_kit.tenancy import TenantScope
from pydantic import SecretStr

from tests.support.job_records import (
    IDS,
    T0,
    completed,
    deleted,
    delta,
    event_record,
    job_id,
    request_record,
    started,
    verified,
)


@dataclass
class Bench:
    """A table, a tenant of one's own, and a way to fold records into it."""

    table: JobTable
    tenant: str
    fold: Callable[[list[JobPatch]], Awaitable[object]]

    @property
    def scope(self) -> TenantScope:
        return TenantScope(self.tenant)

    def job(self, number: int) -> str:
        return job_id(number, tenant=self.tenant)

    async def take(self, *records: Record) -> None:
        await self.fold([_patch(record) for record in records])


def _patch(record: Record) -> JobPatch:
    if ("ce_type", CE_DELETED.encode()) in record.headers:
        return patch_of_deletion(record, ids=IDS)
    if record.topic == "ai.jobs.events.v1":
        return patch_of_event(record, ids=IDS)
    return patch_of_request(verified(record))


@pytest.fixture(params=["memory", "redis"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    tenant = f"t{uuid4().hex[:12]}"
    if request.param == "memory":
        table = MemoryJobTable()

        async def fold(patches: list[JobPatch]) -> None:
            for patch in patches:
                table.fold(patch)

        yield Bench(table, tenant, fold)
        return
    url = request.getfixturevalue("redis_url")
    redis = connect_redis(RedisSettings(url=SecretStr(url)), name="tests")
    await redis.set(EPOCH_KEY, "tests")
    yield Bench(RedisJobTable(redis), tenant, JobFold(redis, FoldPolicy()).fold)
    await redis.aclose()


async def test_get_of_unknown_job_is_none(bench: Bench) -> None:
    assert await bench.table.get(bench.scope, bench.job(1)) is None


async def test_get_after_request_tells_what_was_asked(bench: Bench) -> None:
    job = bench.job(1)

    await bench.take(request_record(job, tenant=bench.tenant, model="m1", metadata={"a": "b"}))

    state = await bench.table.get(bench.scope, job)
    assert state is not None
    assert (state.status, state.task, state.user) == (JobStatus.QUEUED, "chat", "ann")
    assert (state.model, state.metadata, state.created_at) == ("m1", {"a": "b"}, T0)


async def test_get_after_completed_has_output_usage_and_times(bench: Bench) -> None:
    job, tenant = bench.job(1), bench.tenant

    await bench.take(
        request_record(job, tenant=tenant),
        started(job, tenant=tenant),
        delta(job, (1, 2), tenant=tenant),
        completed(job, (1, 3), "42", tenant=tenant, offset=9),
    )

    state = await bench.table.get(bench.scope, job)
    assert state is not None
    assert state.status is JobStatus.COMPLETED
    assert state.output is not None
    assert state.output.kind == "chat"
    assert state.output.choices[0].text == "42"
    assert (state.attempt, state.seq, state.model, state.provider) == (1, 3, "m", "p")
    assert state.usage.output_tokens == 2
    assert state.started_at == T0 + timedelta(seconds=101)
    assert state.ended_at == T0 + timedelta(seconds=103)


async def test_get_when_events_came_before_the_request_knows_both(bench: Bench) -> None:
    job, tenant = bench.job(1), bench.tenant

    await bench.take(started(job, tenant=tenant), completed(job, (1, 2), tenant=tenant))
    await bench.take(request_record(job, tenant=tenant, metadata={"k": "v"}))

    state = await bench.table.get(bench.scope, job)
    assert state is not None
    assert (state.status, state.metadata) == (JobStatus.COMPLETED, {"k": "v"})


async def test_get_when_two_terminals_came_keeps_the_first_in_the_log(bench: Bench) -> None:
    job, tenant = bench.job(1), bench.tenant
    error = {"type": "server_error", "code": "c", "message": "m"}
    second = event_record(job, "failed", (2, 2), tenant=tenant, offset=8, error=error)

    await bench.take(second)
    await bench.take(completed(job, (1, 2), tenant=tenant, offset=7), second)

    state = await bench.table.get(bench.scope, job)
    assert state is not None
    assert (state.status, state.attempt, state.error) == (JobStatus.COMPLETED, 1, None)


async def test_get_while_retrying_tells_the_error(bench: Bench) -> None:
    job, tenant = bench.job(1), bench.tenant
    error = {"type": "server_error", "code": "overloaded", "message": "m"}
    about: dict[str, Any] = {"error": error, "delay_s": 1.5, "next_attempt": 2}

    await bench.take(
        request_record(job, tenant=tenant),
        started(job, tenant=tenant),
        event_record(job, "retrying", (1, 2), tenant=tenant, **about),
    )

    state = await bench.table.get(bench.scope, job)
    assert state is not None
    assert state.status is JobStatus.RETRYING
    assert state.error is not None
    assert state.error.code == "overloaded"


async def test_get_outside_the_scope_is_none(bench: Bench) -> None:
    job = bench.job(1)
    await bench.take(request_record(job, tenant=bench.tenant, user="ann"))

    assert await bench.table.get(TenantScope(bench.tenant, "ann"), job) is not None
    assert await bench.table.get(TenantScope(bench.tenant, "bob"), job) is None
    assert await bench.table.get(TenantScope("other"), job) is None


async def test_page_is_newest_first_and_its_cursor_leads_on(bench: Bench) -> None:
    jobs = [bench.job(number) for number in range(5)]
    for number, job in enumerate(jobs):
        at = T0 + timedelta(milliseconds=number // 2)  # pairs share an instant
        await bench.take(request_record(job, tenant=bench.tenant, at=at))

    seen: list[str] = []
    cursor = None
    for _ in range(3):
        page = await bench.table.page(bench.scope, after=cursor, limit=2)
        seen += [state.job for state in page.jobs]
        cursor = page.next_cursor

    assert cursor is None
    assert len(seen) == 5
    assert set(seen) == set(jobs)
    assert seen[0] == jobs[4]
    assert set(seen[1:3]) == set(jobs[2:4])


async def test_page_filters_by_status_task_and_user(bench: Bench) -> None:
    tenant = bench.tenant
    texts: dict[str, Any] = {"input": {"texts": ["t"]}}
    await bench.take(
        request_record(bench.job(1), tenant=tenant, user="ann"),
        request_record(bench.job(2), tenant=tenant, user="bob"),
        request_record(bench.job(3), tenant=tenant, user="ann", task="embed", **texts),
        started(bench.job(1), tenant=tenant),
    )

    async def jobs(scope: TenantScope = bench.scope, **wanted: object) -> set[str]:
        page = await bench.table.page(scope, **wanted)  # type: ignore[arg-type]  # names are checked by the call
        assert page.next_cursor is None
        return {state.job for state in page.jobs}

    assert await jobs(status=JobStatus.RUNNING) == {bench.job(1)}
    assert await jobs(task="embed") == {bench.job(3)}
    assert await jobs(user="bob") == {bench.job(2)}
    assert await jobs(TenantScope(tenant, "ann")) == {bench.job(1), bench.job(3)}
    assert await jobs(TenantScope(tenant, "ann"), user="bob") == set()


async def test_page_with_filter_when_more_match_than_fit_leads_on(bench: Bench) -> None:
    for number in range(3):
        await bench.take(request_record(bench.job(number), tenant=bench.tenant))

    first = await bench.table.page(bench.scope, task="chat", limit=2)
    rest = await bench.table.page(bench.scope, task="chat", limit=2, after=first.next_cursor)

    assert len(first.jobs) == 2
    assert len(rest.jobs) == 1
    assert rest.next_cursor is None


async def test_page_after_garbage_is_a_value_error(bench: Bench) -> None:
    for cursor in ("x", "ä", "AAAA", "x" * 500):
        with pytest.raises(ValueError, match="cursor"):
            await bench.table.page(bench.scope, after=cursor)


async def test_events_come_in_order_behind_a_position_and_end_with_the_end(bench: Bench) -> None:
    job, tenant = bench.job(1), bench.tenant
    await bench.take(
        started(job, tenant=tenant),
        delta(job, (1, 2), "a", tenant=tenant),
        delta(job, (1, 3), "b", tenant=tenant),
        completed(job, (1, 4), tenant=tenant),
    )

    everything = await bench.table.events(bench.scope, job)
    later = await bench.table.events(bench.scope, job, after=Position(1, 2))

    assert [(str(e.position), e.type) for e in everything] == [
        ("1-1", "started"),
        ("1-2", "delta"),
        ("1-3", "delta"),
        ("1-4", "completed"),
    ]
    assert [event.position for event in later] == [(1, 3), (1, 4)]
    assert later[0].value == delta(job, (1, 3), "b", tenant=tenant).value
    assert await bench.table.events(bench.scope, job, after=Position(1, 4)) == []
    assert await bench.table.events(TenantScope(tenant, "eve"), job) == []


async def test_events_behind_the_end_are_void(bench: Bench) -> None:
    """A second worker was about to begin; its `started` came after the first one's end."""
    job, tenant = bench.job(1), bench.tenant
    await bench.take(
        started(job, 1, tenant=tenant, offset=0),
        completed(job, (1, 2), tenant=tenant, offset=1),
        started(job, 2, tenant=tenant, offset=2),
        delta(job, (2, 2), tenant=tenant, offset=3),
    )

    events = await bench.table.events(bench.scope, job)
    state = await bench.table.get(bench.scope, job)

    assert [event.type for event in events] == ["started", "completed"]
    assert state is not None
    assert (state.status, state.attempt, state.superseded) == (JobStatus.COMPLETED, 1, None)


async def test_an_end_behind_the_start_of_a_later_attempt_is_superseded_and_booked(
    bench: Bench,
) -> None:
    """A worker slept, was thought dead, woke up and finished."""
    job, tenant = bench.job(1), bench.tenant
    zombie = completed(job, (1, 3), "stale", tenant=tenant, offset=4)
    await bench.take(
        request_record(job, tenant=tenant),
        started(job, 1, tenant=tenant, offset=0),
        started(job, 2, tenant=tenant, offset=1),
        delta(job, (2, 2), tenant=tenant, offset=2),
        delta(job, (1, 2), "stale", tenant=tenant, offset=3),
        zombie,
    )
    between = await bench.table.get(bench.scope, job)
    await bench.take(completed(job, (2, 3), "fresh", tenant=tenant, offset=5), zombie)

    state = await bench.table.get(bench.scope, job)
    events = await bench.table.events(bench.scope, job)

    assert between is not None
    assert between.superseded is not None
    assert (between.status, between.superseded.count) == (JobStatus.RUNNING, 1)
    assert state is not None
    assert (state.status, state.attempt) == (JobStatus.COMPLETED, 2)
    assert state.output is not None
    assert state.output.kind == "chat"
    assert state.output.choices[0].text == "fresh"
    assert state.superseded is not None
    assert state.superseded.count == 1
    assert state.superseded.usage.cost_usd == state.usage.cost_usd
    assert [str(event.position) for event in events] == ["1-1", "2-1", "2-2", "2-3"]


async def test_an_end_that_came_twice_is_booked_once(bench: Bench) -> None:
    """The broker's answer to the first write was lost: the worker wrote it again."""
    job, tenant = bench.job(1), bench.tenant

    await bench.take(
        started(job, tenant=tenant, offset=0),
        completed(job, (1, 2), tenant=tenant, offset=1),
        completed(job, (1, 2), tenant=tenant, offset=2),
    )

    state = await bench.table.get(bench.scope, job)
    assert state is not None
    assert (state.status, state.superseded) == (JobStatus.COMPLETED, None)


async def test_a_fence_that_is_folded_late_still_holds(bench: Bench) -> None:
    """Records may be folded in any order; the log's order decides."""
    job, tenant = bench.job(1), bench.tenant

    await bench.take(completed(job, (1, 2), "stale", tenant=tenant, offset=4))
    await bench.take(completed(job, (2, 2), "fresh", tenant=tenant, offset=6))
    early = await bench.table.get(bench.scope, job)
    await bench.take(started(job, 2, tenant=tenant, offset=3))
    state = await bench.table.get(bench.scope, job)

    assert early is not None
    assert early.attempt == 1
    assert state is not None
    assert state.attempt == 2
    assert state.output is not None
    assert state.output.kind == "chat"
    assert state.output.choices[0].text == "fresh"


RESPONSE = {"kind": "response", "echo": {"instructions": "Be brief."}, "kept": True}


async def test_request_of_a_surface_that_keeps_it_is_given_back(bench: Bench) -> None:
    job = bench.job(1)
    await bench.take(request_record(job, tenant=bench.tenant, surface=RESPONSE))

    kept = await bench.table.request(bench.scope, job)

    assert kept is not None
    assert (kept.surface.kind, kept.surface.echo) == ("response", {"instructions": "Be brief."})
    assert kept.input == {"messages": [{"role": "user", "content": "hi"}]}
    assert await bench.table.request(TenantScope(bench.tenant, "eve"), job) is None
    assert await bench.table.request(TenantScope("other"), job) is None


async def test_request_that_is_not_to_be_kept_is_none(bench: Bench) -> None:
    await bench.take(
        request_record(bench.job(1), tenant=bench.tenant),
        request_record(bench.job(2), tenant=bench.tenant, surface={**RESPONSE, "kept": False}),
    )

    assert await bench.table.request(bench.scope, bench.job(1)) is None
    assert await bench.table.request(bench.scope, bench.job(2)) is None
    assert await bench.table.request(bench.scope, bench.job(3)) is None


@pytest.mark.parametrize("is_told_first", [True, False])
async def test_a_deleted_job_has_no_request_output_or_events_whatever_came_first(
    bench: Bench, *, is_told_first: bool
) -> None:
    job, tenant = bench.job(1), bench.tenant
    told = [deleted(job, tenant=tenant, offset=9)]
    done = [
        request_record(job, tenant=tenant, surface=RESPONSE),
        started(job, tenant=tenant),
        delta(job, (1, 2), tenant=tenant, offset=1),
        completed(job, (1, 3), tenant=tenant, offset=2),
    ]
    for records in (told, done) if is_told_first else (done, told):
        await bench.take(*records)

    state = await bench.table.get(bench.scope, job)

    assert state is not None
    assert (state.status, state.output) == (JobStatus.COMPLETED, None)
    assert await bench.table.request(bench.scope, job) is None
    assert await bench.table.events(bench.scope, job) == []
