"""Parts of WebSocket mode alone: frames, the box on the way out, lanes, the roster, resuming."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from gateway.errors import ApiError
from gateway.metrics import GatewayMetrics
from gateway.openai.socket.close_codes import CLOSE_CODES, RESTART, Close
from gateway.openai.socket.frames import (
    Cancel,
    Create,
    error_frame,
    event_frame,
    open_frame,
    read_frame,
)
from gateway.openai.socket.lanes import Lanes
from gateway.openai.socket.outbox import Outbox, Stalled
from gateway.openai.socket.resuming import Resume, asked_resume
from gateway.openai.socket.roster import Roster, RosterLimits
from penstock_contracts.credentials import Scope
from penstock_kit.auth.principal import Principal
from penstock_kit.telemetry.metrics import Metrics

PRINCIPAL = Principal("acme", "ann", Scope.USER, "key")


def frame(**members: Any) -> bytes:
    return orjson.dumps(members)


def read(raw: bytes) -> Create | Cancel:
    return read_frame(open_frame(raw))


def test_create_is_the_body_of_a_streamed_response_on_its_lane() -> None:
    asked = read(frame(type="response.create", model="m", input="hi", stream_id="a"))

    assert asked == Create({"model": "m", "input": "hi", "stream": True}, "a")
    assert read(frame(type="response.create", stream=False)) == Create({"stream": True}, None)


@pytest.mark.parametrize("generate", [True, None])
def test_create_that_generates_is_as_one_that_does_not_say_so(generate: Any) -> None:
    asked = read(frame(type="response.create", model="m", generate=generate))

    assert asked == Create({"model": "m", "stream": True}, None)


def test_cancel_names_a_response_or_a_lane() -> None:
    assert read(frame(type="response.cancel", response_id="r")) == Cancel("r", None)
    assert read(frame(type="response.cancel", stream_id="a")) == Cancel(None, "a")


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        (b"{", "malformed_json", None),
        (b"[]", "invalid_type", None),
        (frame(model="m"), "missing_required_parameter", "type"),
        (frame(type=7), "invalid_value", "type"),
        (frame(type="response.paint"), "invalid_value", "type"),
        (frame(type="response.steer", input="x"), "unsupported_value", "type"),
        (frame(type="response.create", background=True), "unsupported_parameter", "background"),
        (frame(type="response.create", generate=False), "unsupported_parameter", "generate"),
        (frame(type="response.create", generate="no"), "invalid_type", "generate"),
        (frame(type="response.create", stream_id=7), "invalid_value", "stream_id"),
        (frame(type="response.create", stream_id=""), "invalid_value", "stream_id"),
        (frame(type="response.create", stream_id="x" * 129), "invalid_value", "stream_id"),
        (frame(type="response.cancel", response_id=7), "invalid_type", "response_id"),
        (frame(type="response.cancel", model="m"), "unknown_parameter", "model"),
    ],
)
def test_frame_when_it_is_wrong_is_refused_by_name(
    raw: bytes, code: str, param: str | None
) -> None:
    with pytest.raises(ApiError) as caught:
        read(raw)

    assert (caught.value.kind.code, caught.value.details.param) == (code, param)


def test_error_is_nested_with_status_lane_and_headers() -> None:
    error = ApiError("rate_limit_exceeded", "wait", param="x", retry_after_s=1.2)

    told = orjson.loads(error_frame(error, "a", sequence_number=7))

    assert told == {
        "type": "error",
        "status": 429,
        "error": {
            "type": "requests",
            "code": "rate_limit_exceeded",
            "message": "wait",
            "param": "x",
            "headers": {"retry-after": "2"},
        },
        "stream_id": "a",
        "sequence_number": 7,
    }
    assert set(orjson.loads(error_frame(error))) == {"type", "status", "error"}


def test_event_carries_its_lane_if_it_has_one() -> None:
    event = {"type": "response.created", "sequence_number": 0}

    assert orjson.loads(event_frame(event, "a")) == {**event, "stream_id": "a"}
    assert orjson.loads(event_frame(event, None)) == event


@pytest.mark.parametrize(
    ("query", "resume"),
    [
        ({}, None),
        ({"response_id": "r"}, Resume("r", None, None)),
        (
            {"response_id": "r", "starting_after": "0", "stream_id": "a"},
            Resume("r", 0, "a"),
        ),
    ],
)
def test_address_tells_where_to_go_on(query: dict[str, str], resume: Resume | None) -> None:
    assert asked_resume(query) == resume


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"starting_after": "1"}, "response_id"),
        ({"response_id": "r", "starting_after": "-1"}, "starting_after"),
        ({"response_id": "r", "starting_after": "1" * 13}, "starting_after"),
        ({"response_id": "r", "stream_id": ""}, "stream_id"),
        ({"response_id": "r", "model": "m"}, "model"),
    ],
)
def test_address_when_it_is_wrong_is_refused(query: dict[str, str], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        asked_resume(query)

    assert caught.value.details.param == param


async def test_box_when_it_is_full_makes_speakers_wait_and_keeps_the_order() -> None:
    box = Outbox(max_frames=2, max_bytes=1000)
    await box.put("1")
    await box.put("2")
    third = asyncio.create_task(box.put("3"))
    await asyncio.sleep(0)
    assert not third.done()
    sent: list[str] = []

    async def send(text: str) -> None:
        sent.append(text)
        if text == "3":
            box.close()

    async with asyncio.timeout(5):
        await box.write(send, stall_s=5)

    assert sent == ["1", "2", "3"]
    assert third.done()


async def test_box_bounds_bytes_but_lets_one_large_frame_through() -> None:
    box = Outbox(max_frames=10, max_bytes=10)
    await box.put("x" * 50)
    second = asyncio.create_task(box.put("y"))
    await asyncio.sleep(0)

    assert not second.done()
    box.close()
    await second


async def test_writer_when_the_client_takes_nothing_gives_up() -> None:
    box = Outbox(max_frames=2, max_bytes=1000)
    await box.put("1")

    async def never(_: str) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stalled):
        await box.write(never, stall_s=0.01)


async def test_lanes_keep_order_inside_and_run_side_by_side() -> None:
    lanes = Lanes(max_lanes=2, max_waiting=3)
    log: list[str] = []
    gate = asyncio.Event()

    async def slow() -> None:
        log.append("a1 begins")
        await gate.wait()
        log.append("a1 ends")

    async def quick(name: str) -> None:
        log.append(name)
        gate.set()

    lanes.put("a", slow)
    lanes.put("a", lambda: quick("a2"))
    lanes.put("b", lambda: quick("b1"))
    async with asyncio.timeout(5):
        while "a2" not in log:  # noqa: ASYNC110 - the log is a plain list
            await asyncio.sleep(0)

    assert log == ["a1 begins", "b1", "a1 ends", "a2"]
    await lanes.close()


async def test_lanes_are_bounded_in_number_and_length() -> None:
    lanes = Lanes(max_lanes=1, max_waiting=1)

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    lanes.put("a", never)
    await asyncio.sleep(0)
    lanes.put("a", never)
    for lane in ("a", "b"):
        with pytest.raises(ApiError) as caught:
            lanes.put(lane, never)
        assert caught.value.kind.code == "too_many_streams"
    await lanes.close()


class Seat:
    """A session that only remembers how it was ended."""

    def __init__(self) -> None:
        self.ended: Close | None = None

    def end(self, close: Close) -> None:
        self.ended = close


def test_roster_bounds_tenants_and_all_and_drains() -> None:
    roster = Roster(RosterLimits(total=3, per_tenant=2), GatewayMetrics(Metrics()))
    other = Principal("other", "bob", Scope.USER, "key2")
    seats = [Seat() for _ in range(5)]

    assert roster.enter(seats[0], PRINCIPAL)
    assert roster.enter(seats[1], PRINCIPAL)
    assert not roster.enter(seats[2], PRINCIPAL)
    assert roster.enter(seats[3], other)
    assert not roster.enter(seats[4], other)
    roster.leave(seats[0])
    roster.leave(seats[0])
    assert roster.enter(seats[2], PRINCIPAL)
    roster.drain()

    assert [seat.ended for seat in seats] == [None, RESTART, RESTART, RESTART, None]
    assert roster.is_draining


def test_close_codes_are_those_that_the_sdk_comes_again_on_or_final() -> None:
    assert {close.code for close in CLOSE_CODES} == {1001, 1003, 1008, 1011, 1012, 1013}
    assert all(len(close.reason) <= 123 for close in CLOSE_CODES)
