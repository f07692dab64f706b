from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from penstock_kit.serving import HttpServer, PortTaken, bind
from penstock_kit.settings import AdminSettings
from penstock_kit.telemetry.health import AdminServer, Health
from penstock_kit.telemetry.metrics import Metrics, process_registry


async def fetch(port: int, path: str, method: str = "GET") -> tuple[int, bytes, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split(b" ")[1]), head, body


@pytest.fixture
def health() -> Health:
    return Health("gateway")


@pytest.fixture
async def admin(health: Health) -> AsyncIterator[AdminServer]:
    server = AdminServer(AdminSettings(port=0), health, process_registry("gateway", version="1"))
    await server.start()
    yield server
    await server.stop()


async def probe(admin: AdminServer, path: str) -> tuple[int, Any]:
    status, head, body = await fetch(admin.port, path)
    assert b"application/json" in head
    return status, json.loads(body)


async def test_readiness_waits_for_the_start(health: Health, admin: AdminServer) -> None:
    status, body = await probe(admin, "/readyz")
    assert status == 503
    assert body["failing"][0]["check"] == "starting"

    health.set_started()

    assert await probe(admin, "/readyz") == (
        200,
        {"service": "gateway", "status": "ready", "failing": []},
    )


async def test_failing_check_is_named_with_what_to_do(health: Health, admin: AdminServer) -> None:
    health.set_started()
    health.check_readiness("redis", lambda: "Redis does not answer; start it")
    health.check_readiness("kafka", lambda: None)

    status, body = await probe(admin, "/readyz")

    assert status == 503
    assert body["failing"] == [{"check": "redis", "reason": "Redis does not answer; start it"}]
    assert (await probe(admin, "/healthz"))[0] == 200


async def test_dead_process_is_neither_alive_nor_ready(health: Health, admin: AdminServer) -> None:
    health.set_started()
    health.check_liveness("poll", lambda: "no poll for 60 s; restart")

    assert (await probe(admin, "/healthz"))[0] == 503
    assert (await probe(admin, "/readyz"))[0] == 503


async def test_check_that_breaks_counts_as_failing(health: Health, admin: AdminServer) -> None:
    health.set_started()
    health.check_readiness("odd", lambda: 1 / 0)  # type: ignore[arg-type, return-value] # a broken check

    status, body = await probe(admin, "/readyz")

    assert status == 503
    assert "ZeroDivisionError" in body["failing"][0]["reason"]


async def test_draining_is_unready_but_alive(health: Health, admin: AdminServer) -> None:
    health.set_started()
    health.set_draining()

    status, body = await probe(admin, "/readyz")

    assert (status, body["status"]) == (503, "draining")
    assert (await probe(admin, "/healthz"))[0] == 200


async def test_metrics_show_the_process_and_our_own(health: Health) -> None:
    registry = process_registry("gateway", version="1.2")
    Metrics(registry).counter("jobs_accepted_total", "Jobs accepted.", "task").labels("chat").inc()
    server = AdminServer(AdminSettings(port=0), health, registry)
    await server.start()

    status, head, body = await fetch(server.port, "/metrics")
    await server.stop()

    assert status == 200
    assert b"text/plain" in head
    assert b'penstock_jobs_accepted_total{task="chat"} 1.0' in body
    assert b'penstock_build_info{service="gateway",version="1.2"} 1.0' in body
    assert b"process_resident_memory_bytes" in body
    assert b"python_gc_collections_total" in body


async def test_other_paths_and_methods_are_answered_plainly(admin: AdminServer) -> None:
    assert (await fetch(admin.port, "/"))[0] == 404
    assert (await fetch(admin.port, "/healthz", "POST"))[0] == 405
    status, _, body = await fetch(admin.port, "/healthz", "HEAD")
    assert (status, body) == (200, b"")


async def test_taken_port_is_a_refusal_that_names_it(health: Health, admin: AdminServer) -> None:
    second = AdminServer(
        AdminSettings(port=admin.port), health, process_registry("gateway", version="1")
    )

    with pytest.raises(PortTaken, match=str(admin.port)):
        await second.start()
    await second.stop()


async def test_stop_is_prompt_also_with_an_open_connection(health: Health) -> None:
    server = AdminServer(AdminSettings(port=0), health, process_registry("gateway", version="1"))
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")

    before = time.monotonic()
    await server.stop()
    await server.stop()

    assert time.monotonic() - before < 1.5
    writer.close()


async def test_http_server_cuts_a_request_that_does_not_end() -> None:
    entered = asyncio.Event()

    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        entered.set()
        await asyncio.Event().wait()

    server = HttpServer(
        endless, host="127.0.0.1", port=0, stop_grace=timedelta(seconds=1), interface="asgi3"
    )
    await server.start()
    _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await entered.wait()

    async with asyncio.timeout(5):
        await server.stop()
    writer.close()


def test_two_sockets_share_a_port_when_both_ask_for_it() -> None:
    first = bind("127.0.0.1", 0, reuse_port=True)
    second = bind("127.0.0.1", first.getsockname()[1], reuse_port=True)

    assert first.getsockname() == second.getsockname()
    first.close()
    second.close()


def test_metric_names_are_held_to_the_rules() -> None:
    metrics = Metrics()

    assert metrics.gauge("x_seconds", "X.") is metrics.gauge("x_seconds", "X.")
    with pytest.raises(ValueError, match="_total"):
        metrics.counter("jobs", "Jobs.")
    with pytest.raises(ValueError, match="exists already"):
        metrics.histogram("x_seconds", "X.")
