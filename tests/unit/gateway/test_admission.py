"""Every verdict of admission over in-memory parts, as a caller sees it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from gateway.admission.rules import BacklogBounds, LimitBook, LimitRule, LimitScope
from penstock_contracts.events import Started
from penstock_contracts.topics import EVENTS
from penstock_kit.kafka.lag import GroupLag
from penstock_kit.kafka.ports import ProducerFull

from tests.support.gateway import GatewayBench, Reply, make_bench

CHAT: dict[str, Any] = {"task": "chat", "input": "hello"}
HOURLY = LimitBook(
    (LimitRule(scope=LimitScope.USER, task="chat", limit=3, per=timedelta(hours=1)),)
)


async def submit(bench: GatewayBench, /, key: str | None = None, **members: Any) -> Reply:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await bench.call("POST", "/v1/jobs", {**CHAT, **members}, headers=headers)


def set_lag(bench: GatewayBench, jobs: int, topic: str = "ai.chat.requests.v1") -> None:
    records = {"llm-worker": {topic: jobs}}
    bench.inside.desk.backlog.see(GroupLag(bench.clock.monotonic(), records))


def set_pace(bench: GatewayBench, *, seconds: float, at_once: int) -> None:
    """Let the tail see jobs run: `at_once` of them, `seconds` each."""
    pace = bench.inside.desk.pace
    for number in range(at_once):
        pace.started(f"job_{number}", "llm-worker")
    bench.clock.advance(timedelta(seconds=seconds))
    for number in range(at_once):
        pace.ended(f"job_{number}")


def written(bench: GatewayBench, topic: str = "ai.chat.requests.v1") -> list[dict[str, Any]]:
    return [json.loads(record.value or b"") for record in bench.kafka.records(topic)]


async def test_submit_when_a_limit_is_used_up_is_refused_with_every_header() -> None:
    bench = await make_bench(book=HOURLY)

    replies = [await submit(bench) for _ in range(4)]

    assert [reply.status for reply in replies] == [202, 202, 202, 429]
    refused = replies[3]
    assert refused.code == "rate_limit_exceeded"
    assert refused.json["error"]["type"] == "requests"
    assert 3600 <= int(refused.headers["retry-after"]) <= 3960
    assert refused.headers["x-should-retry"] == "true"
    assert refused.headers["ratelimit-policy"] == '"user-chat";q=3;w=3600'
    assert refused.headers["ratelimit"] == '"user-chat";r=0;t=3600'
    assert refused.headers["x-ratelimit-limit-requests"] == "3"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"] == "3600s"
    assert len(written(bench)) == 3


async def test_submit_when_accepted_tells_what_is_left() -> None:
    bench = await make_bench(book=HOURLY)

    reply = await submit(bench)

    assert reply.headers["ratelimit"] == '"user-chat";r=2;t=3600'


async def test_submit_when_no_limit_applies_has_no_such_headers() -> None:
    bench = await make_bench(book=HOURLY)

    reply = await submit(bench, task="embed")

    assert reply.status == 202
    assert not [name for name in reply.headers if "ratelimit" in name]


async def test_submit_when_replayed_counts_once() -> None:
    bench = await make_bench(book=HOURLY)

    replies = [await submit(bench, key="order") for _ in range(5)]

    assert {reply.status for reply in replies} == {202}
    assert replies[4].headers["idempotent-replayed"] == "true"
    assert replies[4].headers["ratelimit"].startswith('"user-chat";r=2;')
    assert len(written(bench)) == 1


async def test_submit_when_refused_later_does_not_count() -> None:
    bench = await make_bench(book=HOURLY)
    invalid = await submit(bench, params={"nonsense": 1})
    bench.kafka.faults.on_send = lambda _: ProducerFull("full")
    busy = [await submit(bench, key="order") for _ in range(5)]
    bench.kafka.faults.on_send = None

    good = [await submit(bench, key="order"), await submit(bench), await submit(bench)]

    assert invalid.status == 422
    assert {reply.status for reply in busy} == {503}
    assert [reply.status for reply in good] == [202, 202, 202]
    assert "idempotent-replayed" not in good[0].headers


async def test_submit_when_acceptance_is_unknown_counts_once_with_its_repeat() -> None:
    bench = await make_bench(book=HOURLY)
    bench.kafka.faults.lose_acks = True
    await submit(bench, key="order")
    bench.kafka.faults.lose_acks = False

    repeated = await submit(bench, key="order")

    assert repeated.headers["ratelimit"].startswith('"user-chat";r=2;')


async def test_submit_when_the_tenant_has_too_many_unfinished_is_429() -> None:
    bench = await make_bench(book=LimitBook(backlog=BacklogBounds(tenant=2)))
    other = bench.new_key(tenant="other", user="eve")

    replies = [await submit(bench) for _ in range(3)]
    elsewhere = await bench.call("POST", "/v1/jobs", CHAT, key=other)

    assert [reply.status for reply in replies] == [202, 202, 429]
    assert replies[2].code == "tenant_backlog_full"
    assert 5 <= int(replies[2].headers["retry-after"]) <= 6
    assert elsewhere.status == 202


async def test_submit_when_everything_is_full_is_503_but_replays() -> None:
    bench = await make_bench(book=LimitBook(backlog=BacklogBounds(total=100)))
    first = await submit(bench, key="order")
    set_lag(bench, 100)

    refused = [await submit(bench), await submit(bench, key="new")]
    replayed = await submit(bench, key="order")
    set_lag(bench, 99)

    assert [(reply.status, reply.code) for reply in refused] == [(503, "backlog_full")] * 2
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
    assert (replayed.status, replayed.json["id"]) == (202, first.json["id"])
    assert (await submit(bench, key="new")).status == 202


async def test_submit_when_the_deadline_cannot_be_met_is_refused_now() -> None:
    bench = await make_bench()
    set_pace(bench, seconds=2, at_once=10)
    set_lag(bench, 100)  # 20 s

    late, fine = await submit(bench, deadline_s=15), await submit(bench, deadline_s=30)
    patient = await submit(bench)

    assert (late.status, late.code) == (503, "deadline_unreachable")
    assert 10 <= int(late.headers["retry-after"]) <= 11
    assert [fine.status, patient.status] == [202, 202]


async def test_submit_when_it_would_have_to_be_over_before_it_begins_is_refused_now() -> None:
    bench = await make_bench()
    set_pace(bench, seconds=2, at_once=10)
    set_lag(bench, 100)  # 20 s

    late, fine = [
        await bench.call(
            "POST", "/v1/jobs", {**CHAT, "deadline_s": 60}, headers={"Cancel-After": limit}
        )
        for limit in ("15s", "30s")
    ]

    assert (late.status, late.code) == (503, "deadline_unreachable")
    assert fine.status == 202


async def test_submit_when_the_wait_is_bounded_refuses_longer_ones() -> None:
    bench = await make_bench(book=LimitBook(backlog=BacklogBounds(wait=timedelta(seconds=10))))
    set_pace(bench, seconds=2, at_once=10)
    set_lag(bench, 100)

    refused, urgent = await submit(bench), await submit(bench, priority="high")

    assert (refused.status, refused.code) == (503, "backlog_full")
    assert urgent.status == 202


async def test_submit_when_the_pace_is_unknown_accepts() -> None:
    bench = await make_bench()
    set_lag(bench, 100)

    assert (await submit(bench, deadline_s=1)).status == 202


async def noisy_bench(jobs: int = 30) -> GatewayBench:
    bench = await make_bench()
    other = bench.new_key(tenant="other", user="eve")
    await bench.call("POST", "/v1/jobs", CHAT, key=other)
    for _ in range(jobs):
        await submit(bench)
    return bench


async def test_submit_when_the_tenant_is_noisy_goes_to_the_low_lane_and_says_so() -> None:
    bench = await noisy_bench()

    reply = await submit(bench)
    seen = await bench.call("GET", f"/v1/jobs/{reply.json['id']}")

    (request,) = written(bench, "ai.chat.requests.v1.low")
    assert (request["priority"], request["demoted"]) == ("low", True)
    assert reply.json["demoted"] is True
    assert (seen.json["demoted"], seen.json["priority"]) == (True, "low")
    await bench.until_hinted(reply.json["id"])
    (queued,) = (body for body in written(bench, EVENTS.name) if body["job"] == reply.json["id"])
    assert (queued["type"], queued["priority"], queued["demoted"]) == ("queued", "low", True)


async def test_submit_when_demoted_and_replayed_says_so_again() -> None:
    bench = await noisy_bench()

    replies = [await submit(bench, key="order") for _ in range(2)]

    assert [reply.json["demoted"] for reply in replies] == [True, True]


@pytest.mark.parametrize(
    "why", ["conversation", "fewer than thirty", "alone", "small share", "quiet again"]
)
async def test_submit_when_the_tenant_is_not_noisy_keeps_its_lane(why: str) -> None:
    bench = await noisy_bench(29 if why == "fewer than thirty" else 30)
    members = {"conversation": "c-1"} if why == "conversation" else {}
    if why == "alone":
        bench.inside.desk.crowd.closed(written_jobs(bench)[0])
    if why == "small share":
        set_lag(bench, 400)
    if why == "quiet again":
        bench.inside.desk.crowd.closed(written_jobs(bench)[-1])

    reply = await submit(bench, **members)

    assert reply.status == 202
    assert "demoted" not in reply.json


def written_jobs(bench: GatewayBench) -> list[str]:
    return [
        dict(record.headers)["ce_id"].decode()
        for record in bench.kafka.records("ai.chat.requests.v1")
    ]


async def test_submit_when_redis_is_away_lets_a_part_of_each_limit_pass() -> None:
    rule = LimitRule(scope=LimitScope.USER, limit=10, per=timedelta(hours=1))
    bench = await make_bench(book=LimitBook((rule,)), gateways=4)
    bench.admissions.is_away = True

    replies = [await submit(bench) for _ in range(4)]

    assert [reply.status for reply in replies] == [202, 202, 429, 429]
    assert replies[2].code == "rate_limit_exceeded"


async def test_submit_when_redis_is_away_lets_at_least_one_pass() -> None:
    bench = await make_bench(book=HOURLY, gateways=50)
    bench.admissions.is_away = True

    assert [(await submit(bench)).status for _ in range(2)] == [202, 429]


async def test_submit_when_redis_comes_back_uses_it_again() -> None:
    bench = await make_bench(book=HOURLY, gateways=3)
    bench.admissions.is_away = True
    away = [(await submit(bench)).status for _ in range(2)]
    bench.admissions.is_away = False
    bench.clock.advance(timedelta(seconds=1.1))

    back = [(await submit(bench)).status for _ in range(4)]

    assert away == [202, 429]
    assert back == [202, 202, 202, 429]


async def test_body_when_too_many_bytes_are_held_is_refused_unread() -> None:
    bench = await make_bench(max_body_bytes_total=40_000)
    bench.kafka.faults.hold_acks = True
    held = asyncio.create_task(submit(bench, input="x" * 20_000))
    await bench.written_job()

    refused = await submit(bench)
    bench.kafka.release_acks()

    assert (refused.status, refused.code) == (503, "gateway_busy")
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["connection"] == "close"
    assert (await held).status == 202
    assert (await submit(bench)).status == 202


async def test_body_when_alone_may_be_larger_than_the_budget() -> None:
    bench = await make_bench(max_body_bytes_total=2000)

    assert (await submit(bench, input="x" * 5000)).status == 202


async def test_started_job_without_a_hint_is_counted_by_its_own_words() -> None:
    bench = await make_bench()
    event = Started(
        job="job_" + "0" * 32, attempt=1, seq=1, at=bench.clock.now(), task="chat", worker="w"
    )

    bench.feed(event, tenant="other")

    assert bench.inside.desk.pace.of("llm-worker").running == 1
    assert bench.inside.desk.crowd.count("other") == 1
