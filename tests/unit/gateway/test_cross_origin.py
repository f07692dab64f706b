"""Pages of browsers that call the gateway from another origin."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.gateway import GatewayBench, OpenCall, make_bench

PAGE = "https://app.example"
TICKETS = "/v1/socket-tickets"
ASKED = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,idempotency-key,prefer,"
    "last-event-id,openai-organization,x-stainless-lang,x-stainless-retry-count",
}


@pytest.fixture
async def bench() -> GatewayBench:
    return await make_bench(origins=[PAGE], heartbeat=timedelta(seconds=0.05))


async def test_preflight_when_origin_is_listed_then_the_page_may_ask(bench: GatewayBench) -> None:
    reply = await bench.call("OPTIONS", TICKETS, headers=ASKED, key="")

    allowed = reply.headers["access-control-allow-headers"].split(",")
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == PAGE
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert {"authorization", "x-stainless-retry-count"} <= {name.strip() for name in allowed}


async def test_preflight_when_origin_is_not_listed_then_no_leave(bench: GatewayBench) -> None:
    asked = {**ASKED, "origin": "https://evil.example"}

    reply = await bench.call("OPTIONS", TICKETS, headers=asked, key="")

    assert reply.status == 400
    assert "access-control-allow-origin" not in reply.headers


async def test_preflight_when_no_origin_is_set_then_nothing_is_as_before() -> None:
    bench = await make_bench()

    reply = await bench.call("OPTIONS", TICKETS, headers=ASKED, key="")
    answer = await bench.call("POST", TICKETS, headers={"origin": PAGE})

    assert reply.status == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_answer_when_origin_is_listed_then_the_page_may_read_it(bench: GatewayBench) -> None:
    reply = await bench.call("POST", TICKETS, headers={"origin": PAGE})

    exposed = reply.headers["access-control-expose-headers"].split(", ")
    assert reply.status in {200, 201}
    assert reply.headers["access-control-allow-origin"] == PAGE
    assert {"x-request-id", "retry-after", "location", "ratelimit"} <= set(exposed)
    assert "x-request-id" in reply.headers


@pytest.mark.parametrize(
    ("path", "status"), [(TICKETS, 401), ("/v1/nothing", 404), ("/v1/jobs/none", 401)]
)
async def test_error_when_origin_is_listed_then_the_page_may_read_it_too(
    bench: GatewayBench, path: str, status: int
) -> None:
    method = "POST" if path == TICKETS else "GET"

    reply = await bench.call(method, path, headers={"origin": PAGE}, key="pk_none.none")

    assert reply.status == status
    assert reply.headers["access-control-allow-origin"] == PAGE


async def test_stream_when_origin_is_listed_then_each_piece_comes_at_once(
    bench: GatewayBench,
) -> None:
    job = (await bench.call("POST", "/v1/jobs", {"task": "chat", "input": "hi"})).json["id"]
    stream = OpenCall(bench, f"/v1/jobs/{job}/events", headers={"origin": PAGE})

    await stream.until("event: snapshot")
    await stream.until(": ping")

    assert stream.headers["access-control-allow-origin"] == PAGE
    await stream.hang_up()
