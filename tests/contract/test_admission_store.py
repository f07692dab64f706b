"""Stores of admission: in memory and on a real Redis through one suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from gateway.admission.local_store import LocalAdmissions
from gateway.admission.redis_store import RedisAdmissions
from gateway.admission.rules import Quota
from gateway.admission.store import (
    EXACT_UP_TO,
    SWEEP,
    AdmissionStore,
    Ask,
    KeyClaim,
    Reply,
    Verdict,
)
from penstock_kit.redis_client import connect_redis
from penstock_kit.settings import RedisSettings
from penstock_kit.tenancy import TenantScope
from pydantic import SecretStr

from tests.support.clock import HandClock
from tests.support.redis_server import redis_url
from tests.support.waiting import eventually

__all__ = ["redis_url"]

WINDOW = timedelta(seconds=1)
"""Redis has a clock of its own: windows of its cases pass in real time."""


@dataclass
class KnownJobs:
    """A job table that tests fill by hand."""

    counts: dict[str, int] = field(default_factory=dict)
    jobs: set[str] = field(default_factory=set)

    def count(self, tenant: str) -> int:
        return self.counts.get(tenant, 0)

    def knows(self, job: str) -> bool:
        return job in self.jobs


@dataclass
class Case:
    """A store, and what lies around it."""

    store: AdmissionStore
    scope: TenantScope
    set_unfinished: Callable[[int], Awaitable[None]]
    fold: Callable[[str], Awaitable[None]]
    pass_time: Callable[[timedelta], Awaitable[None]]

    def ask(self, *, limit: int | None = None, key: str | None = None, **given: Any) -> Ask:
        job = given.pop("job", f"job_{uuid4().hex}")
        quotas = () if limit is None else (Quota("chats", "ann", limit, given.pop("per", WINDOW)),)
        claim = None if key is None else KeyClaim("jobs", key, given.pop("body", "one"))
        return Ask(
            **{
                "scope": self.scope,
                "job": job,
                "quotas": quotas,
                "claim": claim,
                "backlog_limit": 10_000,
                **given,
            }
        )

    async def admit(self, **given: Any) -> Reply:
        return await self.store.admit(self.ask(**given))

    async def settle(self, ask: Ask, reply: Reply) -> None:
        """Settle, and wait until it holds."""
        self.store.settle(ask, reply)

        async def fact() -> bool:
            return (await self.store.admit(ask)).verdict is Verdict.REPLAYED

        await eventually(fact)


def memory_case() -> Case:
    clock, known = HandClock(), KnownJobs()
    scope = TenantScope("acme")

    async def set_unfinished(count: int) -> None:
        known.counts[scope.tenant] = count

    async def fold(job: str) -> None:
        known.jobs.add(job)

    async def pass_time(by: timedelta) -> None:
        clock.advance(by)

    return Case(LocalAdmissions(clock, known), scope, set_unfinished, fold, pass_time)


@pytest.fixture(params=["memory", "redis"])
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    if request.param == "memory":
        yield memory_case()
        return
    url = request.getfixturevalue("redis_url")
    redis = connect_redis(RedisSettings(url=SecretStr(url)), name="test")
    scope = TenantScope(f"t-{uuid4().hex[:12]}")

    async def set_unfinished(count: int) -> None:
        await redis.hset(scope.counts_key(), "queued", str(count))

    async def fold(job: str) -> None:
        await redis.hset(scope.job_key(job), "m_rank", "3")

    async def pass_time(by: timedelta) -> None:
        await asyncio.sleep(by.total_seconds())

    store = RedisAdmissions(redis, key_ttl=timedelta(minutes=1))
    yield Case(store, scope, set_unfinished, fold, pass_time)
    await store.stop()
    await redis.aclose()


async def test_admit_when_fifty_may_pass_refuses_the_fifty_first(case: Case) -> None:
    long = timedelta(hours=1)

    replies = [await case.admit(limit=50, per=long) for _ in range(51)]

    assert [reply.verdict for reply in replies] == [Verdict.ADMITTED] * 50 + [Verdict.LIMITED]
    assert [reply.windows[0].remaining for reply in replies] == [*range(49, -1, -1), 0]
    assert replies[50].blocked == 0
    assert 3590 < replies[50].windows[0].reset_s <= 3600


async def test_admit_when_asked_at_once_lets_exactly_the_limit_pass(case: Case) -> None:
    asks = [case.ask(limit=10, per=timedelta(hours=1)) for _ in range(40)]

    replies = await asyncio.gather(*(case.store.admit(ask) for ask in asks))

    assert sum(reply.verdict is Verdict.ADMITTED for reply in replies) == 10


@pytest.mark.parametrize("limit", [3, EXACT_UP_TO + 3])
async def test_admit_when_the_window_has_passed_lets_again(case: Case, limit: int) -> None:
    for _ in range(limit):
        assert (await case.admit(limit=limit, per=timedelta(seconds=4))).verdict is Verdict.ADMITTED
    full = await case.admit(limit=limit, per=timedelta(seconds=4))

    await case.pass_time(timedelta(seconds=full.windows[0].reset_s + 0.01))
    reply = await case.admit(limit=limit, per=timedelta(seconds=4))

    assert (full.verdict, reply.verdict) == (Verdict.LIMITED, Verdict.ADMITTED)


async def test_admit_when_refused_takes_no_place(case: Case) -> None:
    for _ in range(2):
        await case.admit(limit=2, key="first", job="job_1")
    await case.admit(limit=2)
    refused = [
        await case.admit(limit=2),
        await case.admit(limit=2, is_open=False),
        await case.admit(limit=2, key="first", body="other"),
    ]
    await case.pass_time(WINDOW)

    assert [reply.verdict for reply in refused] == ["limited", "limited", "reused"]
    assert (await case.admit(limit=2)).windows[0].remaining == 1


async def test_admit_when_two_quotas_apply_takes_of_both_or_of_none(case: Case) -> None:
    narrow = Quota("narrow", "ann", 1, timedelta(hours=1))
    wide = Quota("wide", "", 5, timedelta(hours=1))
    ask = case.ask()

    replies = [
        await case.store.admit(replace(ask, job=f"job_{number}", quotas=(wide, narrow)))
        for number in range(3)
    ]

    assert [reply.verdict for reply in replies] == ["admitted", "limited", "limited"]
    assert replies[2].blocked == 1
    assert [window.remaining for window in replies[2].windows] == [4, 0]


async def test_admit_when_the_key_repeats_counts_once(case: Case) -> None:
    ask = case.ask(limit=2, key="order", per=timedelta(hours=1))
    first = await case.store.admit(ask)

    pending = await case.store.admit(ask)
    await case.settle(ask, first)
    replayed = await case.store.admit(ask)

    assert [first.verdict, pending.verdict, replayed.verdict] == ["admitted", "pending", "replayed"]
    assert replayed.windows[0].remaining == 1


async def test_admit_when_the_key_has_another_body_says_so(case: Case) -> None:
    await case.admit(key="order")

    assert (await case.admit(key="order", body="other")).verdict is Verdict.REUSED


async def test_admit_when_everything_is_full_still_replays(case: Case) -> None:
    ask = case.ask(limit=1, key="order", per=timedelta(hours=1))
    await case.settle(ask, await case.store.admit(ask))
    await case.set_unfinished(50_000)

    reply = await case.store.admit(replace(ask, is_open=False))

    assert reply.verdict is Verdict.REPLAYED


@pytest.mark.parametrize("limit", [2, EXACT_UP_TO + 1])
async def test_refund_gives_back_place_key_and_backlog(case: Case, limit: int) -> None:
    ask = case.ask(limit=limit, key="order", per=timedelta(hours=1))
    first = await case.store.admit(ask)

    await case.store.refund(ask, first)
    second = await case.store.admit(ask)

    assert second.verdict is Verdict.ADMITTED
    assert second.windows[0].remaining == limit - 1
    assert second.backlog == 0


async def test_refund_when_the_key_was_settled_leaves_it(case: Case) -> None:
    ask = case.ask(key="order")
    first = await case.store.admit(ask)
    await case.settle(ask, first)

    await case.store.refund(ask, first)

    assert (await case.store.admit(ask)).verdict is Verdict.REPLAYED


async def test_admit_when_the_tenant_has_many_unfinished_jobs_refuses(case: Case) -> None:
    await case.set_unfinished(8)

    replies = [await case.admit(backlog_limit=10) for _ in range(3)]

    assert [reply.verdict for reply in replies] == ["admitted", "admitted", "backlog"]
    assert [reply.backlog for reply in replies] == [8, 9, 10]


async def test_admit_when_the_table_has_the_job_counts_it_once(case: Case) -> None:
    ask = case.ask()
    await case.store.admit(ask)
    await case.set_unfinished(1)
    await case.fold(ask.job)

    assert (await case.admit()).backlog == 1


async def test_admit_when_the_table_has_a_burst_counts_each_job_once(case: Case) -> None:
    await burst(case, 200, unknown=5)

    assert (await case.admit()).backlog == 200 + 5


async def test_admit_when_a_burst_is_beyond_one_sweep_goes_on_with_the_next(case: Case) -> None:
    await burst(case, SWEEP + 100, unknown=0)

    backlogs = [(await case.admit(backlog_limit=1)).backlog for _ in range(3)]

    assert SWEEP + 100 < backlogs[0] < SWEEP + 200
    assert backlogs[1:] == [SWEEP + 100] * 2


async def burst(case: Case, jobs: int, *, unknown: int) -> None:
    """Admit jobs at once; the table has all of them then but the oldest few."""
    asks = [case.ask() for _ in range(unknown + jobs)]
    for ask in asks:
        await case.store.admit(ask)
    for ask in asks[unknown:]:
        await case.fold(ask.job)
    await case.set_unfinished(jobs)


async def test_admit_when_closed_lets_no_new_job_in(case: Case) -> None:
    reply = await case.admit(limit=2, key="order", is_open=False)

    assert reply.verdict is Verdict.CLOSED
    assert (await case.admit(limit=2, key="order")).verdict is Verdict.ADMITTED


async def test_admit_when_the_tenant_is_noisy_demotes(case: Case) -> None:
    await case.set_unfinished(30)

    assert (await case.admit(noisy_from=30)).is_demoted
    assert not (await case.admit(noisy_from=40)).is_demoted
    assert not (await case.admit(noisy_from=None)).is_demoted


async def test_admit_when_demoted_asks_whether_the_low_lane_is_open(case: Case) -> None:
    await case.set_unfinished(30)

    closed = await case.admit(noisy_from=30, is_low_open=False)
    opened = await case.admit(noisy_from=30, is_open=False)

    assert (closed.verdict, opened.verdict) == (Verdict.CLOSED, Verdict.ADMITTED)
