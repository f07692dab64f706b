"""Submitting over in-memory parts: what is written, what is answered."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from penstock_contracts.events import Completed, JobStatus, Started
from penstock_contracts.ids import JobIds
from penstock_contracts.parts import ChatOutput, Choice, Usage
from penstock_contracts.state import JobState
from penstock_contracts.topics import EVENTS
from penstock_kit.auth.producers import ProducerKeys
from penstock_kit.intake import Intake
from penstock_kit.tasks import TaskCatalog

from tests.support.gateway import ID_SECRET, GatewayBench, make_bench

CHAT = {"task": "chat", "input": {"messages": [{"role": "user", "content": "hello"}]}}


@pytest.fixture
async def bench() -> GatewayBench:
    return await make_bench()


def requests(bench: GatewayBench, topic: str = "ai.chat.requests.v1") -> list[Any]:
    secret = ID_SECRET.encode()
    intake = Intake(tasks=TaskCatalog.builtin(), ids=JobIds(secret), secrets=ProducerKeys(secret))
    return [intake.verify(record) for record in bench.kafka.records(topic)]


def completed_state(bench: GatewayBench, job: str, *, created_at: str) -> JobState:
    """A job of ann's as the table has it; it ended just now."""
    return JobState(
        job=job,
        tenant="acme",
        user="ann",
        task="chat",
        status=JobStatus.COMPLETED,
        attempt=1,
        seq=2,
        model="m-2026",
        provider="p",
        created_at=datetime.fromisoformat(created_at),
        ended_at=bench.clock.now(),
        usage=Usage(input_tokens=3, output_tokens=5),
        output=ChatOutput(choices=[Choice(index=0, text="hello", finish_reason="stop")]),
    )


async def test_submit_when_good_writes_one_verified_request(bench: GatewayBench) -> None:
    reply = await bench.call("POST", "/v1/jobs", CHAT)

    assert reply.status == 202
    (verified,) = requests(bench)
    assert reply.json["id"] == verified.job
    assert reply.headers["location"] == f"/v1/jobs/{verified.job}"
    assert (verified.tenant, verified.user) == ("acme", "ann")
    assert verified.request.input == CHAT["input"]


async def test_submit_when_accepted_tells_links_and_queue(bench: GatewayBench) -> None:
    body = (await bench.call("POST", "/v1/jobs", CHAT)).json

    assert body["status"] == "queued"
    assert set(body["queue"]) == {"position", "estimated_start_s", "estimated_completion"}
    assert body["links"]["events"] == f"/v1/jobs/{body['id']}/events"
    assert body["links"]["socket"] == "ws://notifier/v1/socket"


async def test_submit_when_accepted_sends_a_queued_hint(bench: GatewayBench) -> None:
    await bench.call("POST", "/v1/jobs", CHAT)

    (record,) = bench.kafka.records(EVENTS.name)
    assert dict(record.headers)["ce_seq"] == b"1"


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("chat", {"messages": [{"role": "user", "content": "hi"}]}),
        ("generate", {"prompt": "hi"}),
        ("embed", {"texts": ["hi"]}),
    ],
)
async def test_submit_when_input_is_a_string_spells_it_out(
    bench: GatewayBench, task: str, expected: dict[str, Any]
) -> None:
    reply = await bench.call("POST", "/v1/jobs", {"task": task, "input": "hi"})

    assert reply.status == 202
    (verified,) = requests(bench, f"ai.{task}.requests.v1")
    assert verified.request.input == expected


async def test_submit_when_key_repeats_gives_the_same_job_once(bench: GatewayBench) -> None:
    headers = {"Idempotency-Key": '"order-1"'}
    first = await bench.call("POST", "/v1/jobs", CHAT, headers=headers)

    second = await bench.call(
        "POST",
        "/v1/jobs",
        {"input": CHAT["input"], "task": "chat"},
        headers={"Idempotency-Key": "order-1"},
    )

    assert first.json["id"] == second.json["id"]
    assert second.headers["idempotent-replayed"] == "true"
    assert len(requests(bench)) == 1


async def test_submit_when_key_repeats_tells_the_job_as_it_stands(bench: GatewayBench) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = await bench.call("POST", "/v1/jobs", CHAT, headers=headers)
    job = str(first.json["id"])
    bench.clock.advance(timedelta(minutes=5))
    queued = await bench.call("POST", "/v1/jobs", CHAT, headers=headers)
    bench.table.states[job] = completed_state(bench, job, created_at=first.json["created_at"])
    bench.clock.advance(timedelta(minutes=5))

    again = await bench.call("POST", "/v1/jobs", CHAT, headers=headers)

    assert (queued.status, queued.json["status"]) == (202, "queued")
    assert queued.json["created_at"] == first.json["created_at"]
    assert queued.json["queue"] == first.json["queue"]
    assert "openai-poll-after-ms" in queued.headers
    assert again.status == 202
    assert again.json == (await bench.call("GET", f"/v1/jobs/{job}")).json
    assert again.json["created_at"] == first.json["created_at"]
    assert (again.json["status"], again.json["model"]) == ("completed", "m-2026")
    assert again.headers["location"] == f"/v1/jobs/{job}"
    assert "openai-poll-after-ms" not in again.headers


@pytest.mark.parametrize("source", ["ring", "table"])
async def test_submit_when_a_held_one_repeats_after_the_end_gives_the_same_bytes(
    bench: GatewayBench, source: str
) -> None:
    headers = {"Idempotency-Key": "order-1", "Prefer": "wait=5"}
    waiting = asyncio.create_task(bench.call("POST", "/v1/jobs", CHAT, headers=headers))
    job = await bench.written_job()
    created_at = bench.clock.now().isoformat()
    bench.clock.advance(timedelta(minutes=5))
    state = completed_state(bench, job, created_at=created_at)
    place = {"job": job, "attempt": 1, "at": bench.clock.now()}
    bench.feed(Started(**place, seq=1, task="chat", worker="w"))
    members = {"output": state.output, "usage": state.usage}
    bench.feed(Completed(**place, seq=2, model="m-2026", provider="p", **members))
    first = await waiting
    bench.table.states[job] = state
    bench.clock.advance(timedelta(minutes=5))
    if source == "table":
        bench.hub._ring._jobs.clear()

    again = await bench.call("POST", "/v1/jobs", CHAT, headers=headers)

    assert (first.status, again.status) == (200, 200)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json["ended_at"] is not None
    assert again.body == first.body


async def test_submit_when_key_comes_with_another_body_is_refused(bench: GatewayBench) -> None:
    headers = {"Idempotency-Key": "order-1"}
    await bench.call("POST", "/v1/jobs", CHAT, headers=headers)

    reply = await bench.call("POST", "/v1/jobs", {"task": "chat", "input": "no"}, headers=headers)

    assert (reply.status, reply.code) == (422, "idempotency_key_reused")


async def test_submit_when_redis_is_away_keeps_the_id_of_a_key(bench: GatewayBench) -> None:
    bench.admissions.is_away = True
    headers = {"Idempotency-Key": "order-1"}

    replies = [await bench.call("POST", "/v1/jobs", CHAT, headers=headers) for _ in range(2)]

    assert [reply.status for reply in replies] == [202, 202]
    assert len({reply.json["id"] for reply in replies}) == 1


async def test_submit_when_redis_forgot_the_key_gives_another_body_its_own_job(
    bench: GatewayBench,
) -> None:
    """Nor does another user of the tenant get the answer to the first."""
    headers = {"Idempotency-Key": "order-1"}
    bob = bench.new_key(tenant="acme", user="bob")
    first = await bench.call("POST", "/v1/jobs", CHAT, headers=headers)
    bench.admissions._keys.clear()

    same = await bench.call("POST", "/v1/jobs", CHAT, headers=headers)
    bench.admissions._keys.clear()
    changed = await bench.call("POST", "/v1/jobs", {**CHAT, "input": "no"}, headers=headers)
    bench.admissions._keys.clear()
    bobs = await bench.call("POST", "/v1/jobs", CHAT, headers=headers, key=bob)

    assert same.json["id"] == first.json["id"]
    assert len({reply.json["id"] for reply in (first, changed, bobs)}) == 3


async def test_submit_when_sent_concurrently_with_one_key_gives_one_id(bench: GatewayBench) -> None:
    headers = {"Idempotency-Key": "order-1"}

    replies = await asyncio.gather(
        *(bench.call("POST", "/v1/jobs", CHAT, headers=headers) for _ in range(20))
    )

    assert {reply.status for reply in replies} == {202}
    assert len({reply.json["id"] for reply in replies}) == 1


async def test_submit_when_acknowledgement_is_lost_names_the_job(bench: GatewayBench) -> None:
    bench.kafka.faults.lose_acks = True

    reply = await bench.call("POST", "/v1/jobs", CHAT, headers={"Idempotency-Key": "k"})

    assert (reply.status, reply.code) == (503, "acceptance_unknown")
    assert reply.headers["retry-after"]
    (verified,) = requests(bench)
    assert reply.json["job"] == verified.job


async def test_submit_when_repeated_after_a_lost_acknowledgement_is_written_again(
    bench: GatewayBench,
) -> None:
    bench.kafka.faults.lose_acks = True
    lost = await bench.call("POST", "/v1/jobs", CHAT, headers={"Idempotency-Key": "k"})
    bench.kafka.faults.lose_acks = False

    reply = await bench.call("POST", "/v1/jobs", CHAT, headers={"Idempotency-Key": "k"})

    assert reply.status == 202
    assert reply.json["id"] == lost.json["job"]
    assert [verified.job for verified in requests(bench)] == [reply.json["id"]] * 2
