"""`Cancel-After`: what is read of it, where it goes, and who hears when to look again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from gateway.errors import ApiError
from gateway.parameters import cancel_after
from penstock_contracts.events import JobStatus
from penstock_contracts.requests import JobRequest
from penstock_contracts.state import JobState

from tests.support.gateway import GatewayBench, OpenCall, make_bench
from tests.support.waiting import until

MESSAGES = [{"role": "user", "content": "hi"}]
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/jobs": {"task": "chat", "input": "hi"},
    "/v1/chat/completions": {"model": "m", "messages": MESSAGES},
    "/v1/completions": {"model": "m", "prompt": "hi"},
    "/v1/embeddings": {"model": "e", "input": "hi"},
    "/v1/responses": {"model": "m", "input": "hi"},
}
JOB = ROUTES["/v1/jobs"]
BACKGROUND = {**ROUTES["/v1/responses"], "background": True}


@pytest.fixture
async def bench() -> GatewayBench:
    return await make_bench(models=["m"], embedding_models=["e"])


def written(bench: GatewayBench) -> list[JobRequest]:
    """All requests."""
    return [
        JobRequest.model_validate(orjson.loads(record.value or b""))
        for task in ("chat", "embed")
        for record in bench.kafka.records(f"ai.{task}.requests.v1")
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1", 1), ("90", 90), ("30s", 30), ("1.5 m", 90), ("2h", 7200), ("7d", 604800)],
)
def test_duration_when_good_is_read(text: str, seconds: float) -> None:
    assert cancel_after(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "0", "999ms", "-5", "8d", "604801", "9" * 400, "1e3", "PT1M", "1:00", "1w", "1m, 2m", "¹"],
)
def test_duration_when_wrong_is_refused_by_name(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        cancel_after(text)

    assert (refused.value.kind.status, refused.value.details.param) == (400, "Cancel-After")


def test_no_duration_is_no_limit() -> None:
    assert cancel_after(None) is None


@pytest.mark.parametrize("path", ROUTES)
async def test_job_when_limited_says_so_in_the_log(bench: GatewayBench, path: str) -> None:
    now = bench.clock.now()
    call = OpenCall(bench, path, ROUTES[path], headers={"cancel-after": "1m"})
    await until(lambda: bool(written(bench)))
    await call.hang_up()

    [request] = written(bench)
    assert request.ends_by == now + timedelta(minutes=1)
    assert request.deadline is None


@pytest.mark.parametrize("path", ROUTES)
async def test_job_when_its_limit_is_wrong_is_not_taken(bench: GatewayBench, path: str) -> None:
    reply = await bench.call("POST", path, ROUTES[path], headers={"Cancel-After": "soon"})

    assert (reply.status, reply.code) == (400, "invalid_value")
    assert reply.json["error"]["param"] == "Cancel-After"
    assert written(bench) == []


async def test_key_when_repeated_with_another_limit_is_the_same_job(bench: GatewayBench) -> None:
    replies = [
        await bench.call(
            "POST", "/v1/jobs", JOB, headers={"Idempotency-Key": "k", "Cancel-After": limit}
        )
        for limit in ("1m", "2m")
    ]

    assert [reply.status for reply in replies] == [202, 202]
    [request] = written(bench)
    assert request.ends_by == bench.clock.now() + timedelta(minutes=1)


async def test_unfinished_job_tells_when_to_look_again(bench: GatewayBench) -> None:
    taken = await bench.call("POST", "/v1/jobs", JOB)
    job = taken.json["id"]
    looks = [taken, await bench.call("GET", f"/v1/jobs/{job}")]
    bench.table.states[job] = JobState(
        job=job, tenant="acme", user="ann", status=JobStatus.CANCELLED
    )
    looks.append(await bench.call("GET", f"/v1/jobs/{job}"))

    assert [look.headers.get("openai-poll-after-ms") for look in looks] == ["500", "500", None]


async def test_unfinished_response_tells_when_to_look_again(bench: GatewayBench) -> None:
    made = await bench.call("POST", "/v1/responses", BACKGROUND)

    assert made.json["status"] == "queued"
    assert made.headers["openai-poll-after-ms"] == "500"
