"""Bodies that come too slowly: they are refused, and what they held is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from gateway.admission.bodies import BodyBudget
from gateway.arriving import Arriving, read_body
from gateway.errors import ApiError
from prometheus_client import Gauge

from tests.support.waiting import until

Receive = Callable[[], Awaitable[dict[str, Any]]]


def piece(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def budget(*, stall_s: float = 0.02) -> tuple[BodyBudget, Gauge]:
    used = Gauge("bodies", "Bytes.", registry=None)
    return BodyBudget(1_000_000, used, stall_s=stall_s), used


def then_nothing(*pieces: dict[str, Any]) -> Receive:
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive


def trickle() -> Receive:
    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.001)
        return piece(b"x")

    return receive


async def read(bodies: BodyBudget, receive: Receive, size: int = 900_000) -> bytes:
    headers = {"content-length": str(size)}
    with bodies.share() as share:
        return await read_body(headers, receive, max_bytes=1_000_000, share=share)


@pytest.mark.parametrize(
    "receive", [then_nothing(), then_nothing(piece(b"begun")), trickle()], ids=str
)
async def test_body_when_it_comes_too_slowly_then_408_and_its_room_is_given_back(
    receive: Receive,
) -> None:
    bodies, used = budget()

    async with asyncio.timeout(10):
        with pytest.raises(ApiError) as refused:
            await read(bodies, receive)

    assert (refused.value.kind.status, refused.value.kind.code) == (408, "body_stalled")
    assert refused.value.details.headers["connection"] == "close"
    assert next(iter(used.collect())).samples[0].value == 0


async def test_body_when_it_is_there_then_no_time_is_needed() -> None:
    """Nor a timer, which would cost every small request more than its body does."""
    bodies, _ = budget(stall_s=0)

    assert await read(bodies, then_nothing(piece(b"all", more=False)), 3) == b"all"


async def test_body_when_it_comes_in_pieces_in_time_then_it_is_whole() -> None:
    bodies, _ = budget(stall_s=10)
    left = [piece(b"a"), piece(b"b"), piece(b"c", more=False)]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return left.pop(0)

    assert await read(bodies, receive, 3) == b"abc"


async def test_wait_when_it_is_cancelled_then_what_is_awaited_ends_as_well() -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def receive() -> dict[str, Any]:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.append("receive")
        return {}

    async def wait() -> None:
        await Arriving(receive, stall_s=10).next()

    task = asyncio.create_task(wait())
    await begun.wait()
    await asyncio.sleep(0)
    task.cancel()
    await until(task.done)

    assert (task.cancelled(), ended) == (True, ["receive"])
