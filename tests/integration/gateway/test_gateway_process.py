"""A real gateway process on real Kafka and Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
import pytest_asyncio
from penstock_contracts.events import Completed, DeltaEvent, Started
from penstock_contracts.parts import ChatOutput, Choice, TextDelta

from tests.support.gateway_process import GatewayProcess, running_gateway, whole_redis
from tests.support.redis_server import native_redis

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
"""A gateway starts in two seconds, and much later where many other things start too."""

CHAT: dict[str, Any] = {"task": "chat", "input": "hello"}


@pytest.fixture(scope="module")
def table_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with whole_redis(tmp_path_factory.mktemp("table")) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(
    tmp_path_factory: pytest.TempPathFactory, kafka_bootstrap: str, table_url: str
) -> AsyncIterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    async with running_gateway(
        folder, kafka_bootstrap=kafka_bootstrap, redis_url=table_url
    ) as gateway:
        yield gateway


def events_of(job: str) -> list[Any]:
    at = datetime.now(timezone.utc)
    place = {"job": job, "attempt": 1, "at": at}
    output = ChatOutput(choices=[Choice(index=0, text="la la", finish_reason="stop")])
    return [
        Started(**place, seq=1, task="chat", worker="w"),
        DeltaEvent(**place, seq=2, deltas=[TextDelta(text="la la")]),
        Completed(**place, seq=3, output=output),
    ]


async def test_submit_when_log_and_redis_run_is_accepted_and_seen(gateway: GatewayProcess) -> None:
    async with gateway.client() as client:
        accepted = await client.post("/v1/jobs", json=CHAT)
        seen = await client.get(accepted.headers["location"])

    assert accepted.status_code == 202
    assert seen.json()["status"] == "queued"


async def test_submit_when_key_is_sent_concurrently_is_one_job(gateway: GatewayProcess) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    async with gateway.client() as client:
        replies = await asyncio.gather(
            *(client.post("/v1/jobs", json=CHAT, headers=headers) for _ in range(10))
        )
        again = await client.post("/v1/jobs", json=CHAT, headers=headers)
        other = await client.post("/v1/jobs", json={**CHAT, "input": "else"}, headers=headers)

    assert {reply.status_code for reply in replies} == {202}
    assert len({reply.json()["id"] for reply in [*replies, again]}) == 1
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")


async def test_wait_when_worker_answers_gives_the_output(gateway: GatewayProcess) -> None:
    async with gateway.client() as client:
        job = (await client.post("/v1/jobs", json=CHAT, headers={"Idempotency-Key": "w"})).json()
        waiting = asyncio.create_task(
            client.post(
                "/v1/jobs", json=CHAT, headers={"Idempotency-Key": "w", "Prefer": "wait=20"}
            )
        )
        for event in events_of(job["id"]):
            await gateway.write(event)
        reply = await waiting

    assert reply.status_code == 200
    assert reply.json()["output"]["choices"][0]["text"] == "la la"


async def test_events_when_resumed_in_the_middle_lose_nothing(gateway: GatewayProcess) -> None:
    async with gateway.client() as client:
        job = (await client.post("/v1/jobs", json=CHAT)).json()["id"]
        started, delta, completed = events_of(job)
        await gateway.write(started)
        async with client.stream("GET", f"/v1/jobs/{job}/events?starting_after=0-0") as stream:
            async for line in stream.aiter_lines():
                if line == "id: 1-1":
                    break
        await gateway.write(delta)
        await gateway.write(completed)
        rest = await client.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": "1-1"})

    places = [line for line in rest.text.splitlines() if line.startswith("id: ")]
    assert places == ["id: 1-2", "id: 1-3"]


async def test_ticket_when_redis_runs_is_issued(gateway: GatewayProcess) -> None:
    async with gateway.client() as client:
        reply = await client.post("/v1/socket-tickets")

    assert reply.status_code == 201
    assert len(reply.json()["ticket"]) > 20


async def test_other_tenant_when_asking_finds_nothing(gateway: GatewayProcess) -> None:
    async with gateway.client() as client:
        job = (await client.post("/v1/jobs", json=CHAT)).json()["id"]
    foreign = await gateway.new_key(tenant="another", user="ann")
    async with gateway.client(key=foreign) as client, asyncio.timeout(20):
        while (reply := await client.get(f"/v1/jobs/{job}")).status_code == 401:  # noqa: ASYNC110 - the key travels
            await asyncio.sleep(0.05)

    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "job_not_found")


async def test_body_when_too_large_is_refused_before_it_is_read(gateway: GatewayProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {gateway.key}\r\n"
        "content-type: application/json\r\ncontent-length: 9999999999\r\n\r\n{"
    )
    writer.write(head.encode())
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()

    assert answer.startswith(b"HTTP/1.1 413")


async def test_docs_when_opened_need_nothing_from_elsewhere(gateway: GatewayProcess) -> None:
    async with gateway.client() as client:
        page = await client.get("/docs")
        script = await client.get("/docs/assets/swagger-ui-bundle.js")
        document = await client.get("/openapi.json")

    assert "http" not in page.text.replace("http-equiv", "")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert script.status_code == 200
    assert document.json()["openapi"] == "3.1.0"


async def test_public_port_when_asked_for_metrics_has_none(gateway: GatewayProcess) -> None:
    async with gateway.client() as client:
        hidden = await client.get("/metrics")
        shown = await client.get(f"{gateway.admin_url}/metrics")

    assert hidden.status_code == 404
    assert "penstock_gateway_requests_total" in shown.text


async def test_memory_when_idle_is_small(gateway: GatewayProcess) -> None:
    rss_mb = psutil.Process(gateway.process.pid).memory_info().rss / 1e6

    assert rss_mb <= 120


async def test_redis_when_gone_leaves_submits_alone(tmp_path: Path, kafka_bootstrap: str) -> None:
    with native_redis(tmp_path) as gone:
        pass
    async with (
        running_gateway(
            tmp_path,
            kafka_bootstrap=kafka_bootstrap,
            redis_url=gone,
            PENSTOCK_REDIS__TIMEOUT="0.2",
        ) as gateway,
        gateway.client() as client,
    ):
        accepted = await client.post("/v1/jobs", json=CHAT, headers={"Idempotency-Key": "k"})
        seen = await client.get(accepted.headers["location"])
        listed = await client.get("/v1/jobs")

    assert (accepted.status_code, seen.json()["status"]) == (202, "queued")
    assert (listed.status_code, listed.json()["error"]["code"]) == (503, "table_unavailable")


async def test_sigterm_when_streams_and_waiters_are_open_sends_them_away(
    tmp_path: Path, kafka_bootstrap: str, table_url: str
) -> None:
    async with (
        running_gateway(tmp_path, kafka_bootstrap=kafka_bootstrap, redis_url=table_url) as gateway,
        gateway.client() as client,
    ):
        job = (await client.post("/v1/jobs", json=CHAT)).json()["id"]
        waiting = asyncio.create_task(
            client.post("/v1/jobs", json=CHAT, headers={"Prefer": "wait=60"})
        )
        async with client.stream("GET", f"/v1/jobs/{job}/events") as stream:
            lines = stream.aiter_lines()
            while not (await anext(lines)).startswith("event: snapshot"):
                pass
            status = await gateway.terminate()
            rest = [line async for line in lines]
        held = await waiting

    assert status == 0
    assert any(line.startswith("retry: ") for line in rest)
    assert held.status_code == 202
    assert json.loads(held.text)["status"] == "queued"
