"""Errors of jobs: the answer names the job, and says whether it is a replay."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from penstock_contracts.events import JobStatus
from penstock_contracts.parts import JobError
from penstock_contracts.state import JobState

from tests.support.gateway import GatewayBench, OpenCall, make_bench
from tests.support.openai_answers import Worker

KEY = {"Idempotency-Key": "k1"}
CHAT = ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "hi"}]})
COMPLETION = ("/v1/completions", {"model": "m", "prompt": "hi"})
EMBEDDING = ("/v1/embeddings", {"model": "e", "input": "hi"})
RESPONSE = ("/v1/responses", {"model": "m", "input": "hi"})


async def a_bench(**settings: Any) -> GatewayBench:
    return await make_bench(models=["m"], embedding_models=["e"], **settings)


def task_of(path: str) -> str:
    return "embed" if path == EMBEDDING[0] else "chat"


async def written_job(bench: GatewayBench, path: str) -> str:
    return await bench.written_job(f"ai.{task_of(path)}.requests.v1")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        CHAT,
        (CHAT[0], {**CHAT[1], "stream": True}),
        COMPLETION,
        (COMPLETION[0], {**COMPLETION[1], "stream": True}),
        EMBEDDING,
        RESPONSE,
    ],
)
async def test_error_of_a_job_names_it_and_says_when_it_is_told_again(
    path: str, body: dict[str, Any]
) -> None:
    bench = await a_bench()
    call = OpenCall(bench, path, body, headers=KEY)
    job = await written_job(bench, path)
    worker = Worker(bench, job)
    worker.starts()
    worker.fails()
    await call.end()
    bench.table.states[job] = JobState(
        job=job,
        tenant="acme",
        user="ann",
        task=task_of(path),
        status=JobStatus.FAILED,
        attempt=1,
        seq=2,
        created_at=bench.clock.now(),
        error=JobError(type="server_error", code="provider_failed", message="gave up"),
    )

    again = await bench.call("POST", path, body, headers=KEY)

    assert call.status == again.status == 500
    assert call.headers["x-penstock-job"] == again.headers["x-penstock-job"] == job
    assert "idempotent-replayed" not in call.headers
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(("path", "body"), [CHAT, COMPLETION, EMBEDDING, RESPONSE])
async def test_caller_when_its_job_takes_too_long_is_told_which_one_runs_on(
    path: str, body: dict[str, Any]
) -> None:
    bench = await a_bench(answer_within=timedelta(seconds=0.01))

    reply = await bench.call("POST", path, body)

    assert (reply.status, reply.code) == (504, "still_running")
    assert reply.headers["x-penstock-job"] == reply.json["job"]
