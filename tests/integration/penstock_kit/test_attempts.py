"""Attempts against a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from penstock_contracts.events import JobStatus
from penstock_kit.errors import Busy
from penstock_kit.intake import VerifiedRequest
from penstock_kit.jobs.attempts import AlreadyOver, Attempts, Begin, LostOutcome
from penstock_kit.jobs.fold import FoldPolicy, JobFold
from penstock_kit.jobs.patches import patch_of_event
from penstock_kit.jobs.stored import EPOCH_KEY
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.outcomes import Delivery
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.settings import RedisSettings
from pydantic import SecretStr

from tests.support.job_records import (
    IDS,
    completed,
    delta,
    event_record,
    job_id,
    request_record,
    started,
    verified,
)
from tests.support.redis_server import native_redis
from tests.support.waiting import eventually, redis_answers

LEASE = timedelta(milliseconds=300)


@pytest.fixture
def tenant() -> str:
    return f"t{uuid4().hex[:12]}"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisClient]:
    client = connect_redis(RedisSettings(url=SecretStr(redis_url)), name="tests")
    await client.set(EPOCH_KEY, "tests")
    yield client
    await client.aclose()


def attempts(redis: RedisClient, instance: str = "a") -> Attempts:
    return Attempts(redis, instance=instance, lease=LEASE)


def delivery(record: Record, **changes: object) -> Delivery:
    plain = Delivery(record=record, epoch=1, is_suspect=False)
    return replace(plain, **changes)  # type: ignore[arg-type]  # names are checked by the call


def ask(tenant: str, number: int = 1, **members: Any) -> tuple[VerifiedRequest, Delivery]:
    record = request_record(job_id(number, tenant=tenant), tenant=tenant, **members)
    return verified(record), delivery(record)


async def fold(redis: RedisClient, *records: Record) -> None:
    patches = [patch_of_event(record, ids=IDS) for record in records]
    await JobFold(redis, FoldPolicy()).fold(patches)


async def begun(attempts: Attempts, request: VerifiedRequest, at: Delivery) -> Begin:
    verdict = await attempts.begin(request, at)
    assert isinstance(verdict, Begin)
    return verdict


async def once_free(attempts: Attempts, request: VerifiedRequest, at: Delivery) -> object:
    """Begin as the lanes do: wait while another's lease is alive."""
    async with asyncio.timeout(5):
        while True:
            try:
                return await attempts.begin(request, at)
            except Busy as busy:
                await asyncio.sleep(busy.retry_after_s)


async def test_first_begin_is_attempt_one_without_output(redis: RedisClient, tenant: str) -> None:
    verdict = await begun(attempts(redis), *ask(tenant))

    assert (verdict.attempt, verdict.had_output) == (1, False)


async def test_begin_again_counts_on_and_so_does_the_next_delivery(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant)
    mine = attempts(redis)

    first = await begun(mine, request, at)
    second = await mine.begin_again(first, had_output=True)
    await mine.finish(second, None)
    third = await begun(attempts(redis, "b"), request, at)

    assert (second.attempt, second.had_output) == (2, True)
    assert third.attempt == 3


async def test_begin_while_another_owner_lives_is_busy(redis: RedisClient, tenant: str) -> None:
    request, at = ask(tenant)
    mine = attempts(redis)
    await mine.start()
    await begun(mine, request, at)

    await asyncio.sleep(LEASE.total_seconds() * 2)  # only heartbeats keep the lease that long
    with pytest.raises(Busy) as busy:
        await attempts(redis, "b").begin(request, at)
    await mine.stop()

    assert 0 < busy.value.retry_after_s <= 1


async def test_begin_after_a_killed_owner_is_a_higher_attempt_with_reset(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant)
    await begun(attempts(redis), request, at)  # and its process is gone: no heartbeat
    await fold(
        redis, started(request.job, tenant=tenant), delta(request.job, (1, 2), tenant=tenant)
    )

    verdict = await once_free(attempts(redis, "b"), request, replace(at, is_suspect=True))

    assert isinstance(verdict, Begin)
    assert (verdict.attempt, verdict.had_output) == (2, True)


async def test_begin_after_a_killed_owner_when_nothing_is_folded_assumes_output(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant)
    await begun(attempts(redis), request, at)

    verdict = await once_free(attempts(redis, "b"), request, at)

    assert isinstance(verdict, Begin)
    assert (verdict.attempt, verdict.had_output) == (2, True)


async def test_begin_after_a_killed_owner_of_an_at_most_once_job_is_lost(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant, charge="at_most_once")
    await begun(attempts(redis), request, at)
    other = attempts(redis, "b")

    verdict = await once_free(other, request, at)
    assert isinstance(verdict, LostOutcome)
    await other.finish(verdict, JobStatus.UNKNOWN_OUTCOME)

    assert verdict.attempt == 2
    assert await other.begin(request, at) == AlreadyOver(JobStatus.UNKNOWN_OUTCOME)


async def test_begin_of_an_at_most_once_job_that_only_the_log_saw_start_is_lost(
    redis: RedisClient, tenant: str
) -> None:
    """Its worker began while Redis was away."""
    request, at = ask(tenant, charge="at_most_once")
    await fold(redis, started(request.job, tenant=tenant))

    assert isinstance(await attempts(redis).begin(request, at), LostOutcome)


async def test_begin_of_an_at_most_once_job_after_a_clean_failure_goes_on(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant, charge="at_most_once")
    mine = attempts(redis)
    await mine.finish(await begun(mine, request, at), None)
    about: dict[str, Any] = {
        "error": {"type": "server_error", "code": "c", "message": "m"},
        "delay_s": 1,
        "next_attempt": 2,
    }
    retrying = event_record(request.job, "retrying", (1, 2), tenant=tenant, **about)
    await fold(redis, started(request.job, tenant=tenant), retrying)

    verdict = await begun(mine, request, at)

    assert (verdict.attempt, verdict.had_output) == (2, False)


async def test_begin_of_a_repeated_record_when_the_first_has_ended_is_over(
    redis: RedisClient, tenant: str
) -> None:
    """The recorder may not have folded the end yet: the ledger knows."""
    request, at = ask(tenant)
    mine = attempts(redis)
    await mine.finish(await begun(mine, request, at), JobStatus.COMPLETED)

    again = replace(at, record=replace(at.record, offset=7))

    assert await mine.begin(request, again) == AlreadyOver(JobStatus.COMPLETED)


async def test_begin_of_a_job_that_is_folded_as_ended_is_over(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant)
    await fold(redis, completed(request.job, (1, 2), tenant=tenant))

    assert await attempts(redis).begin(request, at) == AlreadyOver(JobStatus.COMPLETED)


async def test_two_begins_at_once_never_give_one_number(redis: RedisClient, tenant: str) -> None:
    request, at = ask(tenant)
    workers = [attempts(redis, f"w{number}") for number in range(20)]

    verdicts = await asyncio.gather(
        *(worker.begin(request, at) for worker in workers), return_exceptions=True
    )

    assert sum(isinstance(verdict, Begin) for verdict in verdicts) == 1
    assert sum(isinstance(verdict, Busy) for verdict in verdicts) == 19


async def test_heartbeat_when_redis_forgot_sets_the_lease_again(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant)
    mine = attempts(redis)
    await mine.start()
    await begun(mine, request, at)
    key = request.scope.job_key(request.job)

    await redis.delete(key, f"{key}:ledger", f"{key}:lease")
    await eventually(lambda: redis.exists(f"{key}:lease"))
    await mine.stop()

    assert await redis.hget(f"{key}:ledger", "n") == b"1"


async def test_begin_of_suspects_when_the_table_is_incomplete_is_busy(
    tmp_path: Path, tenant: str
) -> None:
    request, at = ask(tenant)
    with native_redis(tmp_path) as url:
        client = connect_redis(RedisSettings(url=SecretStr(url)), name="tests")
        await redis_answers(client)
        with pytest.raises(Busy):
            await attempts(client).begin(request, replace(at, is_suspect=True))
        verdict = await attempts(client).begin(request, at)
        await client.aclose()

    assert isinstance(verdict, Begin)


async def test_begin_when_redis_is_away_lets_only_fresh_records_through(tenant: str) -> None:
    nowhere = RedisSettings(url=SecretStr("redis://127.0.0.1:1/0"))
    client = connect_redis(nowhere, name="tests")
    request, at = ask(tenant)
    mine = attempts(client)

    first = await begun(mine, request, at)
    second = await mine.begin_again(first, had_output=True)
    await mine.finish(second, None)
    third = await begun(mine, request, replace(at, deliveries=2))
    with pytest.raises(Busy):
        await attempts(client, "b").begin(request, replace(at, is_suspect=True))
    with pytest.raises(Busy):
        await attempts(client, "b").begin(request, replace(at, deliveries=2))
    await client.aclose()

    assert [first.attempt, second.attempt, third.attempt] == [1, 2, 3]
    assert third.had_output
