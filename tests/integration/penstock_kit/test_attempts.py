"""Attempts against a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from penstock_contracts.events import JobStatus
from penstock_contracts.retries import RetryNote
from penstock_kit.errors import Busy
from penstock_kit.intake import VerifiedRequest
from penstock_kit.jobs.attempts import (
    AlreadyOver,
    Attempts,
    Begin,
    LostOutcome,
    Moved,
    Verdict,
)
from penstock_kit.jobs.coverage import EventLog, FoldMarks
from penstock_kit.jobs.fold import FoldPolicy, JobFold
from penstock_kit.jobs.leases import Leases
from penstock_kit.jobs.patches import patch_of_event
from penstock_kit.jobs.retry_state import RetryState
from penstock_kit.jobs.stored import EPOCH_KEY
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.outcomes import Delivery
from penstock_kit.redis_client import RedisClient, connect_redis, script_source
from penstock_kit.redis_line import ScriptLine
from penstock_kit.settings import RedisSettings
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

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
from tests.support.waiting import eventually, redis_answers, until
from tests.support.whole_table import declare_whole

LEASE = timedelta(milliseconds=300)


@pytest.fixture
def tenant() -> str:
    return f"t{uuid4().hex[:12]}"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisClient]:
    client = connect_redis(RedisSettings(url=SecretStr(redis_url)), name="tests")
    await declare_whole(client)
    yield client
    await client.aclose()


class EmptyLog:
    """Implements `EventLog`: nothing that the table could have missed."""

    async def ends(self) -> dict[int, int]:
        return {}


@dataclass
class MarkedLog:
    """Implements `EventLog` with ends of our choice."""

    at: dict[int, int]
    asked: int = 0
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def ends(self) -> dict[int, int]:
        self.asked += 1
        self.was_asked.set()
        return self.at


MADE: list[Attempts] = []


def fall_asleep(sleeper: Attempts) -> None:
    """What SIGSTOP leaves: a lease that runs out, since its heart has not beaten for long."""
    leases = sleeper._leases
    assert leases._heartbeat is not None
    leases._heartbeat.cancel()
    leases._answered_at -= 2 * LEASE.total_seconds()


async def kill(process: Attempts) -> None:
    """What SIGKILL leaves: leases that run out by themselves."""
    process._leases._held.clear()
    await process.stop()


@pytest.fixture(autouse=True)
async def _all_stopped() -> AsyncIterator[None]:
    yield
    while MADE:
        await MADE.pop().stop()


def attempts(redis: RedisClient, instance: str = "a", log: EventLog | None = None) -> Attempts:
    MADE.append(Attempts(redis, log or EmptyLog(), instance=instance, lease=LEASE))
    return MADE[-1]


@asynccontextmanager
async def living(redis: RedisClient, log: EventLog | None = None) -> AsyncIterator[Attempts]:
    """Attempts of a process with a heartbeat, until it is killed."""
    mine = attempts(redis, uuid4().hex, log)
    await mine.start()
    try:
        yield mine
    finally:
        await kill(mine)


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


async def once_free(
    attempts: Attempts, request: VerifiedRequest, at: Delivery, *, made: int = 0
) -> Verdict:
    """Begin as the lanes do: wait while another's lease is alive, or nothing is proven."""
    async with asyncio.timeout(5):
        while True:
            try:
                return await attempts.begin(request, at, made=made)
            except Busy as busy:
                await asyncio.sleep(busy.retry_after_s)


async def after_a_killed_owner(
    redis: RedisClient, request: VerifiedRequest, at: Delivery
) -> Verdict:
    """What another worker is told once the record comes to it."""
    async with living(redis) as other:
        return await once_free(other, request, replace(at, is_suspect=True))


def copy_of(at: Delivery, offset: int) -> Delivery:
    """The same job in another record."""
    return replace(at, record=replace(at.record, offset=offset))


@contextmanager
def unheard(line: ScriptLine) -> Iterator[None]:
    """Scripts run, and their replies are lost."""
    call = line.call

    async def lose(*asked: Any) -> None:
        await call(*asked)
        raise RedisTimeoutError("lost")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line, "call", lose)
        yield


@contextmanager
def cut_off(line: ScriptLine) -> Iterator[None]:
    """Scripts do not reach Redis."""

    async def refuse(*_: Any) -> None:
        raise RedisConnectionError("cut off")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line, "call", refuse)
        yield


def moved_on(at: Delivery, offset: int, *, state: bytes = b"") -> Delivery:
    """The record in a retry topic, with what it was told there."""
    first = at.note or RetryNote(
        source=at.record.topic,
        partition=at.record.partition,
        offset=at.record.offset,
        failures=0,
        delay_ms=0,
    )
    record = replace(at.record, topic="ai.retries.v1.30s", offset=offset)
    return replace(at, record=record, note=replace(first, state=state), state=state)


NOW = timedelta(0)


def retrying(job: str, tenant: str, attempt: int = 1, **about: Any) -> Record:
    error = {"type": "server_error", "code": "c", "message": "m"}
    told: dict[str, Any] = {"error": error, "delay_s": 0, "next_attempt": attempt + 1} | about
    return event_record(job, "retrying", (attempt, 2), tenant=tenant, **told)


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
    await mine.finish(second, None, retry_in=NOW)
    third = await begun(attempts(redis, "b"), request, at)

    assert (second.attempt, second.had_output) == (2, True)
    assert (third.attempt, third.crashes) == (3, 0)


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

    verdict = await after_a_killed_owner(redis, request, at)

    assert isinstance(verdict, Begin)
    assert (verdict.attempt, verdict.had_output, verdict.crashes) == (2, True, 1)


async def test_begin_after_a_killed_owner_when_nothing_is_folded_assumes_output(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant)
    await begun(attempts(redis), request, at)

    verdict = await after_a_killed_owner(redis, request, at)

    assert isinstance(verdict, Begin)
    assert (verdict.attempt, verdict.had_output) == (2, True)


async def test_begin_of_what_crashed_again_and_again_counts_the_crashes(
    redis: RedisClient, tenant: str
) -> None:
    """Clean failures in between neither count nor reset."""
    request, at = ask(tenant)
    await begun(attempts(redis), request, at)
    async with living(redis) as other:
        second = await once_free(other, request, at)
        assert isinstance(second, Begin)
        await other.finish(second, None, retry_in=NOW)
        third = await begun(other, request, at)
    fourth = await after_a_killed_owner(redis, request, at)

    assert isinstance(fourth, Begin)
    assert [second.crashes, third.crashes, fourth.crashes] == [1, 1, 2]


async def test_begin_counts_crashes_on_where_redis_lost_all_in_between(
    tmp_path: Path, tenant: str
) -> None:
    """The newest `started` in the log tells the count; the ledger alone would begin anew."""
    request, at = ask(tenant)
    log: list[Record] = []
    counted: list[int] = []
    with native_redis(tmp_path) as url:
        client = connect_redis(RedisSettings(url=SecretStr(url)), name="tests")
        await redis_answers(client)
        await declare_whole(client)
        for _ in range(4):
            verdict = await after_a_killed_owner(client, request, at)
            assert isinstance(verdict, Begin)
            counted.append(verdict.crashes)
            told = {"crashes": verdict.crashes} if verdict.crashes else {}
            offset = len(log)
            log.append(started(request.job, verdict.attempt, tenant=tenant, offset=offset, **told))
            await client.flushall()
            await fold(client, *log)
            await declare_whole(client)
        await client.aclose()

    assert counted == [0, 1, 2, 3]


async def test_begin_after_an_owner_that_let_go_is_no_crash(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant)
    mine = attempts(redis)
    await mine.finish(await begun(mine, request, at), None)

    verdict = await after_a_killed_owner(redis, request, at)

    assert isinstance(verdict, Begin)
    assert (verdict.attempt, verdict.crashes) == (2, 0)


async def test_begin_after_an_owner_that_was_stopped_is_no_crash_and_at_once(
    redis: RedisClient, tenant: str
) -> None:
    """Its call outlived the drain: no lease is left to wait for."""
    request, at = ask(tenant)
    once, once_at = ask(tenant, 2, offset=1, charge="at_most_once")
    stopped = attempts(redis)
    await stopped.start()
    await begun(stopped, request, at)
    await once_free(stopped, once, once_at)
    await stopped.stop()

    other = attempts(redis, "b")
    verdict = await begun(other, request, replace(at, epoch=2, is_suspect=True))

    assert (verdict.attempt, verdict.crashes) == (2, 0)
    assert isinstance(await other.begin(once, replace(once_at, epoch=2)), LostOutcome)


async def test_begin_after_an_owner_that_told_its_failure_is_no_crash(
    redis: RedisClient, tenant: str
) -> None:
    """It was killed between the `retrying` event and letting go."""
    request, at = ask(tenant)
    await begun(attempts(redis), request, at)
    await fold(redis, started(request.job, tenant=tenant), retrying(request.job, tenant))

    verdict = await after_a_killed_owner(redis, request, at)

    assert isinstance(verdict, Begin)
    assert (verdict.attempt, verdict.crashes) == (2, 0)


async def test_begin_after_a_killed_owner_of_an_at_most_once_job_is_lost(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant, charge="at_most_once")
    async with living(redis) as first:
        await once_free(first, request, at)

    async with living(redis) as other:
        verdict = await once_free(other, request, at)
        assert isinstance(verdict, LostOutcome)
        await other.finish(verdict, JobStatus.UNKNOWN_OUTCOME)

        assert verdict.attempt == 2
        assert await other.begin(request, at) == AlreadyOver(JobStatus.UNKNOWN_OUTCOME)


async def test_begin_of_an_at_most_once_job_that_only_the_log_saw_start_is_lost(
    redis: RedisClient, tenant: str
) -> None:
    """Redis lost the ledger meanwhile."""
    request, at = ask(tenant, charge="at_most_once")
    await fold(redis, started(request.job, tenant=tenant))

    async with living(redis) as other:
        assert isinstance(await once_free(other, request, at), LostOutcome)


async def test_begin_of_an_at_most_once_job_whose_owner_let_go_in_mid_call_is_lost(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant, charge="at_most_once")
    async with living(redis) as mine:
        first = await once_free(mine, request, at)
        assert isinstance(first, Begin)
        await mine.finish(first, None)

        assert isinstance(await once_free(mine, request, at), LostOutcome)


async def test_begin_of_an_at_most_once_job_that_redis_got_twice_is_not_lost(
    redis: RedisClient, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke after the script had run, so the line sent it once more."""
    request, at = ask(tenant, charge="at_most_once")
    async with living(redis) as mine:
        await once_free(mine, *ask(tenant, 2, offset=1, charge="at_most_once"))  # the log is proven
        call = mine._begin.call

        async def twice(*asked: Any) -> Any:
            await call(*asked)
            return await call(*asked)

        monkeypatch.setattr(mine._begin, "call", twice)

        assert isinstance(await mine.begin(request, at), Begin)


async def test_begin_of_an_at_most_once_job_whose_answer_was_not_heard_is_not_lost(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant, charge="at_most_once")
    async with living(redis) as mine:
        await once_free(mine, *ask(tenant, 2, offset=1, charge="at_most_once"))
        with unheard(mine._begin), pytest.raises(Busy):
            await mine.begin(request, at)

        verdict = await mine.begin(request, at)
        assert isinstance(verdict, Begin)
        await mine.finish(verdict, None)

        assert isinstance(await mine.begin(request, at), LostOutcome), "this one may have called"


async def test_begin_of_an_at_most_once_job_that_is_lost_stays_so_where_nobody_heard_it(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant, charge="at_most_once")
    async with living(redis) as mine:
        first = await once_free(mine, request, at)
        assert isinstance(first, Begin)
        await mine.finish(first, None)
        with unheard(mine._begin), pytest.raises(Busy):
            await mine.begin(request, at)

        assert isinstance(await mine.begin(request, at), LostOutcome)


@pytest.mark.parametrize(("may_have_called", "verdict"), [(False, Begin), (True, LostOutcome)])
async def test_begin_of_an_at_most_once_job_that_redis_did_not_hear_let_go_is_lost_if_it_called(
    redis: RedisClient, tenant: str, *, may_have_called: bool, verdict: type[Verdict]
) -> None:
    """`confirm` failed, or the call did, and Redis was away for what followed as well."""
    request, at = ask(tenant, charge="at_most_once")
    async with living(redis) as mine:
        first = await once_free(mine, request, at)
        assert isinstance(first, Begin)
        with cut_off(mine._finish):
            await mine.finish(first, None, retry_in=None if may_have_called else NOW)

        assert isinstance(await mine.begin(request, at), verdict)


async def test_begin_of_what_may_come_again_in_an_emptied_redis_waits_for_the_table(
    tmp_path: Path, tenant: str
) -> None:
    """A key that is used once more gives the id of a job that has ended: only the log knows."""
    uuid = IDS.uuid_for_key(tenant=tenant, route="/v1/jobs", key="k")
    keyed = request_record(IDS.issue(tenant=tenant, uuid=uuid), tenant=tenant)
    request, at = verified(keyed), delivery(keyed)
    with native_redis(tmp_path) as url:
        client = connect_redis(RedisSettings(url=SecretStr(url)), name="tests")
        await redis_answers(client)
        await declare_whole(client)
        async with living(client) as mine:
            first = await begun(mine, request, at)
            await mine.finish(first, JobStatus.COMPLETED)
            await client.flushall()

            for epoch in (None, "0123456789abcdef 1"):  # none yet, or of a run before
                if epoch is not None:
                    await client.set(EPOCH_KEY, epoch)
                with pytest.raises(Busy, match="rebuilt"):
                    await mine.begin(request, copy_of(at, 7))
            fresh = await begun(mine, *ask(tenant))
            await fold(client, completed(request.job, (1, 2), tenant=tenant))
            await declare_whole(client)

            assert fresh.attempt == 1, "nobody can have asked for it before"
            assert await mine.begin(request, copy_of(at, 7)) == AlreadyOver(JobStatus.COMPLETED)
        await client.aclose()


async def test_begin_of_an_at_most_once_job_after_a_clean_failure_goes_on(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant, charge="at_most_once")
    async with living(redis) as mine:
        first = await once_free(mine, request, at)
        assert isinstance(first, Begin)
        await mine.finish(first, None, retry_in=NOW)
        await fold(redis, started(request.job, tenant=tenant), retrying(request.job, tenant))

        verdict = await once_free(mine, request, at)

    assert isinstance(verdict, Begin)
    assert (verdict.attempt, verdict.had_output) == (2, False)


async def test_begin_of_a_copy_of_an_at_most_once_job_never_calls(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant, charge="at_most_once")
    async with living(redis) as mine:
        first = await once_free(mine, request, at)
        assert isinstance(first, Begin)

        assert await mine.begin(request, copy_of(at, 7)) == Moved()

        await mine.finish(first, JobStatus.COMPLETED)
        assert await mine.begin(request, copy_of(at, 7)) == AlreadyOver(JobStatus.COMPLETED)


async def test_begin_before_the_next_attempt_is_due_waits(redis: RedisClient, tenant: str) -> None:
    """The source of a job that waits in a retry topic came again."""
    request, at = ask(tenant)
    mine = attempts(redis)
    await mine.finish(await begun(mine, request, at), None, retry_in=timedelta(milliseconds=300))

    with pytest.raises(Busy) as busy:
        await mine.begin(request, at)
    verdict = await once_free(mine, request, at)

    assert 0 < busy.value.retry_after_s <= 0.3
    assert isinstance(verdict, Begin)
    assert verdict.attempt == 2


async def test_begin_of_source_and_retry_in_both_orders_is_one_line_of_attempts(
    redis: RedisClient, tenant: str
) -> None:
    """The worker died after the retry record was written, before the source's offset passed."""
    for number, retry_first in ((1, True), (2, False)):
        request, source = ask(tenant, number)
        retry = copy_of(source, 70)
        mine = attempts(redis)
        await mine.finish(await begun(mine, request, source), None, retry_in=NOW)
        order = [(source, 0), (retry, 1)]
        if retry_first:
            order.reverse()

        async with living(redis) as other:
            (first, made), (second, later_made) = order
            verdict = await once_free(other, request, first, made=made)
            assert isinstance(verdict, Begin)
            meanwhile = await other.begin(request, second, made=later_made)
            await other.finish(verdict, None, retry_in=NOW)
            stale = await other.begin(request, second, made=later_made)
            third = await once_free(other, request, first, made=made)

        assert (meanwhile, stale) == (Moved(), Moved())
        assert isinstance(third, Begin)
        assert (verdict.attempt, third.attempt) == (2, 3)


async def test_begin_of_a_record_that_was_begun_and_then_parked_goes_on(
    redis: RedisClient, tenant: str
) -> None:
    """A rule moves a record as it came: it knows nothing of the attempts that were made of it."""
    request, source = ask(tenant)
    mine = attempts(redis)
    await mine.finish(await begun(mine, request, source), None, retry_in=NOW)
    parked = moved_on(source, 70)
    again = moved_on(parked, 71)

    second = await begun(mine, request, parked)
    await mine.finish(second, None, retry_in=NOW)
    third = await begun(mine, request, again)
    await mine.finish(third, None, retry_in=NOW)

    assert (second.attempt, third.attempt) == (2, 3)


async def test_begin_of_a_retry_that_was_begun_and_then_parked_goes_on_and_its_source_passes(
    redis: RedisClient, tenant: str
) -> None:
    request, source = ask(tenant)
    mine = attempts(redis)
    await mine.finish(await begun(mine, request, source), None, retry_in=NOW)
    told = RetryState(attempt=1).write()
    retry = moved_on(source, 70, state=told)
    second = await mine.begin(request, retry, made=1)
    assert isinstance(second, Begin)
    await mine.finish(second, None, retry_in=NOW)
    parked = moved_on(retry, 71, state=told)

    async with living(redis) as other:
        third = await once_free(other, request, parked, made=1)
        assert isinstance(third, Begin)
        await other.finish(third, None, retry_in=NOW)

    assert await mine.begin(request, source) == Moved()
    assert third.attempt == 3


async def test_begin_of_a_parked_record_after_a_beat_in_an_emptied_redis_goes_on(
    redis: RedisClient, tenant: str
) -> None:
    request, source = ask(tenant)
    parked = moved_on(source, 70)
    key = request.scope.job_key(request.job)
    mine = attempts(redis)
    held = await begun(mine, request, parked)
    await redis.delete(f"{key}:ledger", f"{key}:lease")
    await mine.confirm(request, held)
    await mine.finish(held, None, retry_in=NOW)

    assert (await begun(mine, request, moved_on(parked, 71))).attempt == 2


async def test_begin_of_a_job_that_was_sent_twice_runs_one_record(
    redis: RedisClient, tenant: str
) -> None:
    request, first = ask(tenant)
    second = copy_of(first, 7)
    mine, other = attempts(redis), attempts(redis, "b")

    held = await begun(mine, request, first)
    assert await other.begin(request, second) == Moved()
    await mine.finish(held, None, retry_in=NOW)
    assert await other.begin(request, second) == Moved()
    again = await begun(mine, request, first)
    await mine.finish(again, JobStatus.COMPLETED)

    assert again.attempt == 2
    assert await other.begin(request, second) == AlreadyOver(JobStatus.COMPLETED)


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

    ledger = await redis.hgetall(f"{key}:ledger")
    assert (ledger[b"n"], ledger[b"place"]) == (b"1", f"{at.record.topic}|0|0".encode())
    assert await attempts(redis, "b").begin(request, copy_of(at, 7)) == Moved()


async def test_heartbeat_of_an_attempt_that_was_finished_meanwhile_does_not_open_it_again(
    redis: RedisClient, tenant: str
) -> None:
    """A beat was on its way while the attempt ended."""
    request, at = ask(tenant)
    mine = attempts(redis)
    first = await begun(mine, request, at)
    await mine.finish(first, None, retry_in=NOW)

    leases = Leases(redis, lease=LEASE)
    await leases.renew([first])
    await leases.stop()

    key = request.scope.job_key(request.job)
    assert not await redis.exists(f"{key}:lease")
    assert await redis.hget(f"{key}:ledger", "open") is None


async def test_confirm_when_the_record_knows_of_output_that_redis_does_not_is_still_ours(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant)
    ours = attempts(redis)
    held = await begun(ours, request, at)

    await ours.confirm(request, replace(held, had_output=True))

    await ours.finish(held, JobStatus.COMPLETED)


async def test_a_zombie_neither_keeps_nor_ends_what_another_has_begun(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant)
    zombie = attempts(redis)
    stale = await begun(zombie, request, at)
    async with living(redis) as other:
        fresh = await once_free(other, request, at)
        assert isinstance(fresh, Begin)

        with pytest.raises(Busy):
            await zombie.confirm(request, stale)
        await zombie.finish(stale, JobStatus.COMPLETED)
        await other.confirm(request, fresh)
        with pytest.raises(Busy):
            await attempts(redis, "c").begin(request, at)
        await other.finish(fresh, JobStatus.FAILED)

        assert await other.begin(request, at) == AlreadyOver(JobStatus.FAILED)


async def test_begin_of_a_cut_attempt_while_the_recorder_lags_waits_and_then_finds_the_end(
    redis: RedisClient, tenant: str
) -> None:
    """The worker was killed between the acknowledged end and letting go."""
    request, at = ask(tenant)
    await begun(attempts(redis), request, at)
    partition = 1_000 + int(tenant[1:8], 16)  # of this test alone: the marks are shared
    lagging = MarkedLog({partition: 5})
    await FoldMarks(redis).note({partition: 4})
    async with living(redis, log=lagging) as other:
        waited = asyncio.create_task(once_free(other, request, replace(at, is_suspect=True)))
        await asyncio.wait_for(lagging.was_asked.wait(), 5)
        await asyncio.sleep(LEASE.total_seconds())  # it must not begin while this is so
        assert not waited.done()

        await fold(redis, completed(request.job, (1, 2), tenant=tenant))
        await FoldMarks(redis).note({partition: 5})

        assert await waited == AlreadyOver(JobStatus.COMPLETED)


async def test_begin_of_suspects_when_nobody_has_begun_goes_on_once_the_log_is_folded(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant)
    log = MarkedLog({})

    verdict = await begun(attempts(redis, log=log), request, replace(at, is_suspect=True))

    assert verdict.attempt == 1
    assert log.asked == 1


async def test_who_slept_after_begin_asks_again_before_it_says_started(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant)
    async with living(redis) as sleeper, living(redis) as other:
        held = await begun(sleeper, request, at)
        await until(lambda: sleeper._leases.is_steady)
        await sleeper.confirm_awake(request, held)
        fall_asleep(sleeper)
        fresh = await once_free(other, request, at)
        assert isinstance(fresh, Begin)

        with pytest.raises(Busy):
            await sleeper.confirm_awake(request, held)
        await other.confirm_awake(request, fresh)


async def test_who_slept_over_the_answer_to_begin_asks_again_before_it_says_started(
    redis: RedisClient, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, at = ask(tenant)
    sleeper, asked = attempts(redis), []
    await begun(sleeper, *ask(tenant, 2))  # connected

    async def confirm(_: VerifiedRequest, begun: Begin) -> None:
        asked.append(begun)

    monkeypatch.setattr(sleeper, "confirm", confirm)
    beginning = asyncio.create_task(sleeper.begin(request, at))
    await asyncio.sleep(0)
    time.sleep(2 * LEASE.total_seconds())  # noqa: ASYNC251 - all of the process, as SIGSTOP
    held = await beginning

    assert isinstance(held, Begin)
    await sleeper.confirm_awake(request, held)
    await sleeper.confirm_awake(request, held)
    assert asked == [held]


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


async def test_begin_after_redis_was_emptied_waits_for_owners_that_live(
    tmp_path: Path, tenant: str
) -> None:
    """An absent lease in a young table says nothing: its owner has not beaten yet."""
    request, at = ask(tenant)
    with native_redis(tmp_path) as url:
        client = connect_redis(RedisSettings(url=SecretStr(url)), name="tests")
        await redis_answers(client)
        await declare_whole(client)
        async with living(client) as alive, living(client) as other:
            held = await begun(alive, request, at)
            await alive.confirm(request, held)
            await client.flushall()
            await fold(client, started(request.job, tenant=tenant))
            await declare_whole(client, age_ms=0)

            with pytest.raises(Busy):
                await other.begin(request, replace(at, is_suspect=True))
            await eventually(lambda: client.exists(f"{request.scope.job_key(request.job)}:lease"))
            await alive.finish(held, JobStatus.COMPLETED)

            assert await other.begin(request, at) == AlreadyOver(JobStatus.COMPLETED)
        await client.aclose()


async def test_confirm_when_redis_was_emptied_before_started_stops_the_second_of_two_begins(
    tmp_path: Path, tenant: str
) -> None:
    """Neither ledger nor log knew of the first: only the order in the new Redis decides."""
    request, at = ask(tenant)
    with native_redis(tmp_path) as url:
        client = connect_redis(RedisSettings(url=SecretStr(url)), name="tests")
        await redis_answers(client)
        await declare_whole(client)
        first, second = attempts(client, "a"), attempts(client, "b")
        held = await begun(first, request, at)
        await client.flushall()
        await declare_whole(client, age_ms=0)
        other = await begun(second, request, replace(at, epoch=2, is_suspect=True))

        with pytest.raises(Busy):
            await first.confirm(request, held)
        await second.confirm(request, other)
        await client.aclose()

    assert (held.attempt, other.attempt) == (1, 1)


async def test_begin_when_redis_is_away_lets_only_fresh_records_through(tenant: str) -> None:
    nowhere = RedisSettings(url=SecretStr("redis://127.0.0.1:1/0"))
    client = connect_redis(nowhere, name="tests")
    request, at = ask(tenant)
    once = ask(tenant, 2, charge="at_most_once")
    mine = attempts(client)

    first = await begun(mine, request, at)
    second = await mine.begin_again(first, had_output=True)
    await mine.finish(second, None, retry_in=NOW)
    with pytest.raises(Busy):  # parked; it is no stale copy, and nobody knows who has it
        await mine.begin(request, moved_on(at, 70))
    third = await begun(mine, request, replace(at, deliveries=2))
    stale = await mine.begin(request, copy_of(at, 7))
    await mine.finish(third, JobStatus.COMPLETED)
    over = await mine.begin(request, copy_of(at, 7))
    for worker, asked in (
        ("b", (request, replace(at, is_suspect=True))),
        ("b", (request, replace(at, deliveries=2))),
        ("a", once),
    ):
        with pytest.raises(Busy):
            await attempts(client, worker).begin(*asked)
    await client.aclose()

    assert [first.attempt, second.attempt, third.attempt] == [1, 2, 3]
    assert third.had_output
    assert (stale, over) == (Moved(), AlreadyOver(JobStatus.COMPLETED))


async def test_record_that_was_to_be_dead_lettered_when_delivered_again_then_says_so(
    redis: RedisClient, tenant: str
) -> None:
    """Who ended the job may have died before it wrote the letter; copies of the record get none."""
    request, at = ask(tenant)
    mine = attempts(redis)
    held = await begun(mine, request, at)
    await mine.condemn(held, reason="failure", code="attempts_exhausted")
    error = {"type": "server_error", "code": "boom", "message": "It broke."}
    end = event_record(request.job, "failed", (1, 2), error=error, tenant=tenant)
    await fold(redis, end)

    again = await attempts(redis, "b").begin(request, replace(at, is_suspect=True))
    copy = await attempts(redis, "c").begin(request, copy_of(at, 7))

    assert again == AlreadyOver(JobStatus.FAILED, ("failure", "attempts_exhausted"))
    assert copy == AlreadyOver(JobStatus.FAILED)


async def test_retry_record_after_a_redis_loss_does_not_believe_a_wrong_wall_clock(
    redis: RedisClient, tenant: str
) -> None:
    """Whoever failed wrote `retrying` an hour ahead of time; its record has waited already."""
    request, at = ask(tenant)
    ahead = datetime.now(timezone.utc) + timedelta(hours=1)
    await fold(redis, started(request.job, tenant=tenant), retrying(request.job, tenant, at=ahead))

    async with living(redis) as mine:
        verdict = await once_free(mine, request, copy_of(at, 7), made=1)
        assert isinstance(verdict, Begin)
        assert verdict.attempt == 2


async def test_source_record_after_a_redis_loss_waits_for_one_pause_whatever_the_clock_said(
    redis: RedisClient, tenant: str
) -> None:
    request, at = ask(tenant)
    for hours in (-1, 1):
        wrong = datetime.now(timezone.utc) + timedelta(hours=hours)
        told = retrying(request.job, tenant, at=wrong, delay_s=2)
        await fold(redis, started(request.job, tenant=tenant), told)

        async with living(redis) as mine:
            with pytest.raises(Busy, match="not due"):
                await mine.begin(request, at)

        due_ms = int(await redis.hget(f"{request.scope.job_key(request.job)}:ledger", "due") or 0)
        assert 0 < due_ms / 1000 - datetime.now(timezone.utc).timestamp() <= 2
        request, at = ask(tenant)


async def test_a_proof_about_another_run_of_redis_does_not_count(
    redis: RedisClient, tenant: str
) -> None:
    """Redis came back from its disk: the epoch is there, what was written last may be gone."""
    begin = ScriptLine(redis, script_source("begin"))
    before: Any = await redis.get(EPOCH_KEY)
    run_id, since = before.split(b" ")
    other = run_id[::-1] + b" " + since

    async def ask_with(epoch: bytes) -> Any:
        job = f"{{{tenant}}}:{uuid4().hex}"
        keys = [job, f"{job}:ledger", f"{job}:lease", EPOCH_KEY]
        return await begin.call(
            keys, ["me", "t:0:1", 300, 60, 0, 0, 0, 1, 1, epoch, 0, "t:0:1", "", 0]
        )

    try:
        proven = await ask_with(before)
        await redis.set(EPOCH_KEY, other)
        doubted = await ask_with(other)
    finally:
        await redis.set(EPOCH_KEY, before)
        await begin.stop()

    assert proven[0] == b"begin"
    assert doubted[:2] == [b"doubt", 1]
