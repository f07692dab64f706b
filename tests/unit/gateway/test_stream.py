"""Following a job over SSE, and waiting for its end: order, resume, slow readers, drain."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from gateway.waiting import Preference, read_preference
from penstock_contracts.events import Cancelled, Completed, DeltaEvent, JobStatus, Started
from penstock_contracts.parts import ChatOutput, Choice, TextDelta
from penstock_contracts.state import JobState

from tests.support.gateway import GatewayBench, OpenCall, make_bench, run_app

CHAT: dict[str, Any] = {"task": "chat", "input": "hi"}


@pytest.fixture
async def bench() -> GatewayBench:
    return await make_bench(heartbeat=timedelta(seconds=0.05), stream_frames=4)


async def submitted(bench: GatewayBench) -> str:
    job = str((await bench.call("POST", "/v1/jobs", CHAT)).json["id"])
    bench.feed_written()
    return job


def started(bench: GatewayBench, job: str) -> Started:
    return Started(job=job, attempt=1, seq=1, at=bench.clock.now(), task="chat", worker="w")


def delta(bench: GatewayBench, job: str, seq: int, text: str = "la") -> DeltaEvent:
    return DeltaEvent(
        job=job, attempt=1, seq=seq, at=bench.clock.now(), deltas=[TextDelta(text=text)]
    )


def completed(bench: GatewayBench, job: str, seq: int) -> Completed:
    output = ChatOutput(choices=[Choice(index=0, text="la", finish_reason="stop")])
    return Completed(job=job, attempt=1, seq=seq, at=bench.clock.now(), output=output)


async def test_events_when_followed_from_the_begin_are_in_order_and_end(
    bench: GatewayBench,
) -> None:
    job = await submitted(bench)
    stream = OpenCall(bench, f"/v1/jobs/{job}/events")
    await stream.until("event: snapshot")

    for event in (started(bench, job), delta(bench, job, 2), completed(bench, job, 3)):
        bench.feed(event)
    text = await stream.end()

    places = [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: ")]
    assert places == ["0-1", "1-1", "1-2", "1-3"]
    assert text.endswith("\n\n")


async def test_events_when_resumed_goes_on_after_the_last_one(bench: GatewayBench) -> None:
    job = await submitted(bench)
    for event in (started(bench, job), delta(bench, job, 2), completed(bench, job, 3)):
        bench.feed(event)

    reply = await bench.call("GET", f"/v1/jobs/{job}/events", headers={"Last-Event-ID": "1-1"})
    other = await bench.call("GET", f"/v1/jobs/{job}/events?starting_after=1-1")

    text = reply.body.decode()
    assert text.count("event: ") == 2
    assert "id: 1-2\n" in text
    assert "id: 1-3\n" in text
    assert other.body == reply.body


@pytest.mark.parametrize("source", ["ring", "table"])
async def test_events_when_resumed_at_the_end_end_at_once(bench: GatewayBench, source: str) -> None:
    job = await submitted(bench)
    for event in (started(bench, job), delta(bench, job, 2), completed(bench, job, 3)):
        bench.feed(event)
    bench.table.states[job] = JobState(
        job=job, tenant="acme", user="ann", status=JobStatus.COMPLETED, attempt=1, seq=3
    )
    if source == "table":
        bench.hub._ring._jobs.clear()

    reply = await bench.call("GET", f"/v1/jobs/{job}/events", headers={"Last-Event-ID": "1-3"})
    other = await bench.call("GET", f"/v1/jobs/{job}/events?starting_after=1-3")

    assert reply.body == other.body == b": ping\n\n"
    assert bench.hub.subscriptions == 0


async def test_events_when_job_is_over_gives_a_snapshot_and_ends(bench: GatewayBench) -> None:
    job = await submitted(bench)
    bench.table.states[job] = JobState(
        job=job,
        tenant="acme",
        user="ann",
        task="chat",
        status=JobStatus.CANCELLED,
        attempt=1,
        seq=4,
    )
    bench.hub._ring._jobs.clear()

    reply = await bench.call("GET", f"/v1/jobs/{job}/events")

    assert reply.headers["content-type"].startswith("text/event-stream")
    assert '"status":"cancelled"' in reply.body.decode()


async def test_events_when_silent_send_heartbeats(bench: GatewayBench) -> None:
    job = await submitted(bench)
    stream = OpenCall(bench, f"/v1/jobs/{job}/events")

    await stream.until(": ping")
    bench.feed(started(bench, job))
    bench.feed(completed(bench, job, 2))

    assert "event: completed" in await stream.end()


async def test_events_when_reader_is_slow_ends_with_a_resume_hint(bench: GatewayBench) -> None:
    job = await submitted(bench)
    stream = OpenCall(bench, f"/v1/jobs/{job}/events")
    await stream.until("event: snapshot")
    bench.feed(started(bench, job))
    for seq in range(2, 12):
        bench.feed(delta(bench, job, seq))

    text = await stream.end()

    assert "overflow" in text
    assert "\nretry: " in text


async def test_events_when_gateway_drains_end_with_a_resume_hint(bench: GatewayBench) -> None:
    job = await submitted(bench)
    stream = OpenCall(bench, f"/v1/jobs/{job}/events")
    await stream.until("event: snapshot")

    bench.follower.drain()

    assert "\nretry: " in await stream.end()


async def test_events_when_key_is_revoked_end(bench: GatewayBench) -> None:
    job = await submitted(bench)
    stream = OpenCall(bench, f"/v1/jobs/{job}/events")
    await stream.until("event: snapshot")

    bench.keys._keys.clear()

    assert "revoked" in await stream.end()


async def test_events_when_key_expires_on_a_busy_stream_end_all_the_same(
    bench: GatewayBench,
) -> None:
    job = await submitted(bench)
    caller = bench.keys.authenticate(bench.new_key(lifetime=timedelta(hours=1)))
    stream = await bench.follower.open(caller.scope, job, None)
    frames = bench.follower.frames(stream, caller)
    assert b"event: snapshot" in await anext(frames)
    bench.feed(started(bench, job))
    bench.clock.advance(timedelta(hours=1))

    async with asyncio.timeout(10):
        for seq in count(2):
            bench.feed(delta(bench, job, seq))
            frame = await anext(frames)
            if b"retry: " in frame:
                break

    assert b": expired_api_key, come again" in frame


async def test_events_when_reader_leaves_frees_its_place(bench: GatewayBench) -> None:
    job = await submitted(bench)
    stream = OpenCall(bench, f"/v1/jobs/{job}/events")
    await stream.until("event: snapshot")

    await stream.hang_up()

    assert bench.hub.subscriptions == 0


async def test_wait_when_job_ends_in_time_answers_with_its_output(bench: GatewayBench) -> None:
    waiting = asyncio.create_task(
        bench.call("POST", "/v1/jobs", CHAT, headers={"Prefer": "wait=5"})
    )
    job = await bench.written_job()
    bench.feed(started(bench, job))
    bench.feed(completed(bench, job, 2))

    reply = await waiting

    assert (reply.status, reply.json["status"]) == (200, "completed")
    assert reply.json["output"]["choices"][0]["text"] == "la"
    assert reply.headers["preference-applied"] == "wait=5"
    assert bench.hub.subscriptions == 0


async def test_wait_when_job_is_cancelled_says_so(bench: GatewayBench) -> None:
    waiting = asyncio.create_task(
        bench.call("POST", "/v1/jobs", CHAT, headers={"Prefer": "wait=5"})
    )
    job = await bench.written_job()
    bench.feed(Cancelled(job=job, attempt=0, seq=2, at=bench.clock.now()))

    assert (await waiting).json["status"] == "cancelled"


async def test_wait_when_time_is_over_answers_202(bench: GatewayBench) -> None:
    reply = await bench.call("POST", "/v1/jobs", CHAT, headers={"Prefer": "wait=1"})

    assert (reply.status, reply.json["status"]) == (202, "queued")


async def test_wait_when_gateway_drains_answers_202_at_once(bench: GatewayBench) -> None:
    waiting = asyncio.create_task(
        bench.call("POST", "/v1/jobs", CHAT, headers={"Prefer": "wait=60"})
    )
    await bench.written_job()

    bench.waiters.drain()

    assert (await waiting).status == 202


async def test_wait_when_async_is_preferred_answers_202(bench: GatewayBench) -> None:
    reply = await bench.call("POST", "/v1/jobs", CHAT, headers={"Prefer": "respond-async"})

    assert reply.status == 202
    assert reply.headers["preference-applied"] == "respond-async"


async def test_wait_when_async_is_preferred_afterwards_waits_before(bench: GatewayBench) -> None:
    waiting = asyncio.create_task(
        bench.call("POST", "/v1/jobs", CHAT, headers={"Prefer": "respond-async, wait=5"})
    )
    job = await bench.written_job()
    bench.feed(started(bench, job))
    bench.feed(completed(bench, job, 2))

    reply = await waiting

    assert (reply.status, reply.json["status"]) == (200, "completed")
    assert reply.headers["preference-applied"] == "respond-async, wait=5"


@pytest.mark.parametrize(
    ("wishes", "wait_s", "applied"),
    [
        (None, 0, None),
        ("handling=strict", 0, None),
        ("respond-async", 0, "respond-async"),
        ("wait=10", 10, "wait=10"),
        ("wait=10, respond-async", 10, "respond-async, wait=10"),
        ("respond-async, wait=600", 60, "respond-async, wait=60"),
        ("respond-async, wait=0", 0, "respond-async"),
        ("respond-async, wait=soon", 0, "respond-async"),
        ("wait=0, wait=5", 0, None),
    ],
)
def test_preferences_when_read_then_both_kinds_of_waiting_hold(
    wishes: str | None, wait_s: int, applied: str | None
) -> None:
    assert read_preference(wishes, max_wait_s=60) == Preference(wait_s, applied)


async def test_wait_when_wishes_stand_in_several_lines_reads_them_all(bench: GatewayBench) -> None:
    scope = bench.scope("POST", "/v1/jobs", headers={"content-type": "application/json"})
    scope["headers"] += [(b"prefer", b"respond-async"), (b"prefer", b"handling=strict")]

    reply = await run_app(bench.frame, scope, json.dumps(CHAT).encode())

    assert (reply.status, reply.headers["preference-applied"]) == (202, "respond-async")


async def test_wait_when_longer_than_allowed_is_cut(bench: GatewayBench) -> None:
    bench = await make_bench(max_wait=timedelta(seconds=1))

    reply = await bench.call("POST", "/v1/jobs", CHAT, headers={"Prefer": "wait=50"})

    assert reply.headers["preference-applied"] == "wait=1"
