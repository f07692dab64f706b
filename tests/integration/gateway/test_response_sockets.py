"""WebSocket mode of `/v1/responses` on a real port: a worker by hand behind it, in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from gateway.wiring import build_server
from openai.types.responses import ResponseCompletedEvent
from penstock_contracts.events import JobStatus
from penstock_contracts.state import JobState
from penstock_contracts.surface import KeptRequest
from penstock_contracts.topics import CONTROL
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.gateway import GatewayBench, gateway_settings, make_bench
from tests.support.openai_answers import Worker

pytestmark = pytest.mark.timeout(60)

HELLO: dict[str, Any] = {"type": "response.create", "model": "m", "input": "hi"}


@dataclass
class Served:
    """A gateway on a port."""

    bench: GatewayBench
    port: int
    seen: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/responses"

    def connect(self, query: str = "", **headers: str) -> Any:
        sent = {"Authorization": f"Bearer {self.bench.key}", **headers}
        return connect(self.url + query, additional_headers=sent, max_size=None)

    async def worker(self, text: str = "hi") -> Worker:
        """The worker of a job that is written and asks that; the table has it, too."""
        async with asyncio.timeout(10):
            while True:
                for record in self.bench.kafka.records("ai.chat.requests.v1"):
                    job = dict(record.headers)["ce_id"].decode()
                    asked = json.loads(record.value or b"")
                    if job not in self.seen and asked["input"]["messages"][-1]["content"] == text:
                        self.seen.add(job)
                        self._fold(job, asked)
                        return Worker(self.bench, job)
                await asyncio.sleep(0.001)

    def _fold(self, job: str, asked: dict[str, Any]) -> None:
        kept = {"surface": asked["surface"], "input": asked["input"]}
        self.bench.table.requests[job] = KeptRequest.model_validate(kept)
        self.bench.table.states[job] = JobState(
            job=job,
            tenant="acme",
            user="ann",
            task="chat",
            status=JobStatus.RUNNING,
            created_at=self.bench.clock.now(),
        )


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Served]:
    bench = await make_bench(models=["m"], **settings)
    server = build_server(gateway_settings(port=0, **settings), bench.frame)
    await server.start()
    try:
        yield Served(bench, server.port)
    finally:
        for drain in bench.inside.drains:
            drain()
        await server.stop()


async def frames_until(socket: ClientConnection, kind: str) -> list[dict[str, Any]]:
    """Frames up to the first of a type."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(10):
        while not found or found[-1]["type"] != kind:
            found.append(json.loads(await socket.recv()))
    return found


async def closed(socket: ClientConnection) -> int:
    """The code that the server closes with."""
    async with asyncio.timeout(15):
        async for _ in socket_frames(socket):
            pass
    assert socket.close_code is not None
    return socket.close_code


async def socket_frames(socket: ClientConnection) -> AsyncIterator[Any]:
    """Everything that still comes, however it ends."""
    with suppress(ConnectionClosed):
        while True:
            yield await socket.recv()


async def test_response_comes_as_the_events_of_the_stream_with_its_lane() -> None:
    async with serving() as served, served.connect() as socket:
        await socket.send(json.dumps({**HELLO, "stream_id": "a"}))
        worker = await served.worker()
        worker.starts()
        worker.says("hel", "lo")
        worker.completes("hello")
        frames = await frames_until(socket, "response.completed")

    assert [frame["type"] for frame in frames[:2]] == ["response.created", "response.in_progress"]
    assert {frame["stream_id"] for frame in frames} == {"a"}
    assert [frame["sequence_number"] for frame in frames] == list(range(len(frames)))
    deltas = [f["delta"] for f in frames if f["type"] == "response.output_text.delta"]
    assert "".join(deltas) == "hello"
    assert frames[-1]["response"]["output"][0]["content"][0]["text"] == "hello"


async def test_lanes_run_side_by_side_and_one_lane_in_order() -> None:
    async with serving() as served, served.connect() as socket:
        for stream_id, text in (("a", "1"), ("a", "2"), ("b", "3")):
            await socket.send(json.dumps({**HELLO, "stream_id": stream_id, "input": text}))
        first, other = await served.worker("1"), await served.worker("3")
        assert len(served.bench.kafka.records("ai.chat.requests.v1")) == 2
        other.starts()
        other.completes("two")
        first.starts()
        first.completes("one")
        third = await served.worker("2")
        third.starts()
        third.completes("three")
        ends: list[dict[str, Any]] = []
        while len(ends) < 3:
            ends += (await frames_until(socket, "response.completed"))[-1:]

    texts = [(end["stream_id"], end["response"]["output"][0]["content"][0]["text"]) for end in ends]
    assert sorted(texts[:2]) == [("a", "one"), ("b", "two")]
    assert texts[2] == ("a", "three")


async def test_wrong_frames_are_told_nested_and_the_socket_stays() -> None:
    async with serving() as served, served.connect() as socket:
        await socket.send("{")
        await socket.send(json.dumps({"type": "response.steer"}))
        await socket.send(json.dumps({"type": "response.create", "stream_id": "a", "model": "m"}))
        await socket.send(json.dumps({**HELLO, "model": "unknown"}))
        told = [json.loads(await socket.recv()) for _ in range(4)]
        await socket.send(json.dumps(HELLO))
        worker = await served.worker()
        worker.starts()
        worker.fails()
        failed = await frames_until(socket, "response.failed")

    assert [(frame["type"], frame["status"]) for frame in told] == [
        ("error", 400),
        ("error", 400),
        ("error", 400),
        ("error", 404),
    ]
    by_code = {frame["error"]["code"]: frame for frame in told}
    assert by_code["missing_required_parameter"]["error"]["param"] is None
    assert by_code["missing_required_parameter"]["stream_id"] == "a"
    assert "model_not_found" in by_code
    assert "stream_id" not in failed[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"type": "response.paint"},
        {"type": "response.steer", "input": "x"},
        {"type": "response.create", "background": True},
        {"type": "response.create", "generate": False},
        {"type": "response.cancel", "model": "m"},
        {"type": "response.cancel", "response_id": 7},
    ],
)
async def test_wrong_frame_is_told_on_its_lane(wrong: dict[str, Any]) -> None:
    async with serving() as served, served.connect() as socket:
        await socket.send(json.dumps({**wrong, "stream_id": "a"}))
        told = json.loads(await socket.recv())

    assert (told["type"], told["stream_id"]) == ("error", "a")


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({"Authorization": ""}, "", 401),
        ({"Authorization": "Bearer pk_0.wrong"}, "", 401),
        ({"Origin": "https://evil.example"}, "", 403),
        ({"Origin": "null"}, "", 403),
        ({}, "?starting_after=1", 400),
        ({}, "/x", 404),
    ],
)
async def test_handshake_when_it_may_not_be_is_answered_as_the_request_would(
    headers: dict[str, str], path: str, status: int
) -> None:
    async with serving(socket_origins=["https://good.example"]) as served:
        with pytest.raises(InvalidStatus) as caught:
            await served.connect(path, **headers)
        async with served.connect(Origin="https://good.example") as socket:
            assert socket.response is not None
            assert "Sec-WebSocket-Extensions" not in socket.response.headers

    assert caught.value.response.status_code == status
    body = json.loads(caught.value.response.body)
    assert body["error"]["message"]


async def test_client_that_left_goes_on_where_it_was() -> None:
    async with serving() as served:
        async with served.connect() as socket:
            await socket.send(json.dumps(HELLO))
            worker = await served.worker()
            worker.starts()
            worker.says("one ")
            before = await frames_until(socket, "response.output_text.delta")
        response, last = before[0]["response"]["id"], before[-1]["sequence_number"]
        worker.says("two")
        query = f"?response_id={response}&starting_after={last}&stream_id=z"
        async with served.connect(query) as socket:
            worker.completes("one two")
            after = await frames_until(socket, "response.completed")
        controls = served.bench.kafka.records(CONTROL.name)

    numbers = [frame["sequence_number"] for frame in (*before, *after)]
    assert numbers == list(range(len(numbers)))
    assert {frame["stream_id"] for frame in after} == {"z"}
    assert controls == [], "a response whose client left is not called back"


@pytest.mark.parametrize("beyond", [0, 1000])
async def test_resume_behind_the_end_is_told_the_end_again(beyond: int) -> None:
    async with serving() as served:
        async with served.connect() as socket:
            await socket.send(json.dumps(HELLO))
            worker = await served.worker()
            worker.starts()
            worker.completes("one")
            end = (await frames_until(socket, "response.completed"))[-1]
        last = end["sequence_number"] + beyond
        query = f"?response_id={end['response']['id']}&starting_after={last}&stream_id=z"
        async with served.connect(query) as socket:
            (again,) = await frames_until(socket, "response.completed")

    assert again == {**end, "stream_id": "z"}


async def test_resume_of_what_is_not_there_is_an_error_on_the_socket() -> None:
    async with serving() as served, served.connect(f"?response_id=resp_{'0' * 42}") as socket:
        told = json.loads(await socket.recv())

    assert (told["status"], told["error"]["code"]) == (404, "response_not_found")


async def test_cancel_of_a_lane_calls_its_response_back() -> None:
    async with serving() as served, served.connect() as socket:
        await socket.send(json.dumps({"type": "response.cancel", "stream_id": "a"}))
        nothing = json.loads(await socket.recv())
        await socket.send(json.dumps({**HELLO, "stream_id": "a"}))
        worker = await served.worker()
        await frames_until(socket, "response.created")
        await socket.send(json.dumps({"type": "response.cancel", "stream_id": "a"}))
        async with asyncio.timeout(10):
            while not served.bench.kafka.records(CONTROL.name):  # noqa: ASYNC110 - a broker has no event for its tests
                await asyncio.sleep(0.001)
        worker.starts()
        worker.is_cancelled()
        frames: list[dict[str, Any]] = []
        async with asyncio.timeout(10):
            while not frames or "response" not in frames[-1] or not _is_over(frames[-1]):
                frames.append(json.loads(await socket.recv()))

    assert nothing["error"]["code"] == "response_not_found"
    assert frames[-1]["response"]["status"] == "cancelled"


async def called_back(served: Served, count: int = 1) -> list[str]:
    """The jobs that workers were told to end, once they are so many."""
    async with asyncio.timeout(10):
        while len(records := served.bench.kafka.records(CONTROL.name)) < count:  # noqa: ASYNC110 - a broker has no event for its tests
            await asyncio.sleep(0.001)
    return [json.loads(record.value or b"")["job"] for record in records]


async def test_cancel_right_behind_a_create_calls_that_response_back_and_no_later_one() -> None:
    async with serving() as served, served.connect() as socket:
        for frame in (
            {**HELLO, "input": "1"},
            {"type": "response.cancel"},
            {**HELLO, "input": "2"},
        ):
            await socket.send(json.dumps({**frame, "stream_id": "a"}))
        first = await served.worker("1")
        (job,) = await called_back(served)
        first.is_cancelled()
        cancelled = (await frames_until(socket, "response.cancelled"))[-1]
        second = await served.worker("2")
        second.starts()
        second.completes("two")
        completed = (await frames_until(socket, "response.completed"))[-1]
        jobs = await called_back(served)

    assert cancelled["response"]["id"] == "resp_" + job[4:]
    assert completed["response"]["id"] != cancelled["response"]["id"]
    assert jobs == [job]


async def test_cancel_behind_a_create_that_is_refused_is_forgotten() -> None:
    async with serving() as served, served.connect() as socket:
        for frame in ({**HELLO, "model": "?"}, {"type": "response.cancel"}, HELLO):
            await socket.send(json.dumps(frame))
        worker = await served.worker()
        worker.starts()
        worker.completes("one")
        frames = await frames_until(socket, "response.completed")
        controls = served.bench.kafka.records(CONTROL.name)

    assert [frame["type"] for frame in frames[:2]] == ["error", "response.created"]
    assert controls == []


async def test_cancel_of_what_the_socket_does_not_follow_is_told_its_end() -> None:
    async with serving() as served:
        async with served.connect() as socket:
            await socket.send(json.dumps(HELLO))
            worker = await served.worker()
            worker.starts()
            worker.says("one ")
            response = (await frames_until(socket, "response.created"))[0]["response"]["id"]
        async with served.connect() as socket:
            cancel = {"type": "response.cancel", "response_id": response, "stream_id": "z"}
            await socket.send(json.dumps({**HELLO, "stream_id": "z", "input": "long"}))
            await served.worker("long")
            await frames_until(socket, "response.created")
            await socket.send(json.dumps(cancel))
            await called_back(served)
            worker.is_cancelled()
            (end,) = await frames_until(socket, "response.cancelled")
            await socket.send(json.dumps(cancel))
            (again,) = await frames_until(socket, "response.cancelled")

    assert (end["response"]["id"], end["stream_id"]) == (response, "z")
    assert again == end


async def test_cancel_of_what_is_not_there_is_an_error_on_its_lane() -> None:
    async with serving() as served, served.connect() as socket:
        cancel = {"type": "response.cancel", "response_id": f"resp_{'0' * 42}", "stream_id": "z"}
        await socket.send(json.dumps(cancel))
        (told,) = await frames_until(socket, "error")

    assert (told["error"]["code"], told["stream_id"]) == ("response_not_found", "z")


def _is_over(frame: dict[str, Any]) -> bool:
    return str(frame["response"]["status"]) not in ("queued", "in_progress")


async def test_drain_sends_everybody_away_with_1012_and_responses_run_on() -> None:
    async with serving() as served, served.connect() as socket:
        await socket.send(json.dumps(HELLO))
        await served.worker()
        await frames_until(socket, "response.created")
        for drain in served.bench.inside.drains:
            drain()
        code = await closed(socket)
        async with served.connect() as late:
            late_code = await closed(late)
        controls = served.bench.kafka.records(CONTROL.name)

    assert (code, late_code) == (1012, 1012)
    assert controls == []


async def test_too_many_sockets_of_a_tenant_are_told_and_closed_with_1013() -> None:
    async with (
        serving(sockets_per_tenant=1) as served,
        served.connect(),
        served.connect() as second,
    ):
        told = json.loads(await second.recv())
        code = await closed(second)

    assert (told["status"], told["error"]["code"], code) == (429, "too_many_sockets", 1013)
    assert told["error"]["headers"] == {"retry-after": "1"}


@pytest.mark.parametrize(("sent", "code"), [(b"binary", 1003), ("x" * 5000, 1009)])
async def test_frames_of_the_wrong_kind_or_size_end_the_socket(sent: Any, code: int) -> None:
    async with serving(socket_message_bytes=4096) as served, served.connect() as socket:
        await socket.send(sent)

        assert await closed(socket) == code


async def test_client_that_sends_too_fast_is_sent_away() -> None:
    async with serving(socket_messages_per_s=2) as served, served.connect() as socket:
        for _ in range(5):
            await socket.send("{}")

        assert await closed(socket) == 1008


async def test_too_many_streams_are_refused_one_by_one() -> None:
    async with serving(socket_streams=1) as served, served.connect() as socket:
        await socket.send(json.dumps({**HELLO, "stream_id": "a"}))
        await frames_until(socket, "response.created")
        await socket.send(json.dumps({**HELLO, "stream_id": "b"}))
        told = (await frames_until(socket, "error"))[-1]

    assert (told["status"], told["error"]["code"], told["stream_id"]) == (
        429,
        "too_many_streams",
        "b",
    )


async def test_bodies_that_wait_count_until_they_are_written_or_the_socket_is_gone() -> None:
    async with serving(max_body_bytes_total=200_000, max_body_bytes=200_000) as served:
        async with served.connect() as socket:
            for text in ("1", "x" * 150_000, "y" * 150_000):
                await socket.send(json.dumps({**HELLO, "stream_id": "a", "input": text}))
            told = (await frames_until(socket, "error"))[-1]
            held = _bytes_held(served)
        async with asyncio.timeout(10):
            while _bytes_held(served):  # noqa: ASYNC110 - a gauge has no event
                await asyncio.sleep(0.001)

    assert (told["status"], told["error"]["code"]) == (503, "gateway_busy")
    assert "connection" not in told["error"]["headers"]
    assert 150_000 < held < 200_000


def _bytes_held(served: Served) -> float:
    [gauge] = served.bench.inside.desk.metrics.bodies.collect()
    return gauge.samples[0].value


async def test_socket_ends_at_its_age() -> None:
    async with serving(socket_max_age=0.2) as served, served.connect() as socket:
        assert await closed(socket) == 1001


async def test_slow_reader_is_cut_and_its_response_is_whole_for_the_next() -> None:
    async with serving(socket_stall=0.2) as served:
        async with served.connect() as socket:
            await socket.send(json.dumps(HELLO))
            worker = await served.worker()
            worker.starts()
            response = (await frames_until(socket, "response.created"))[-1]["response"]["id"]
            socket.transport.pause_reading()
            async with asyncio.timeout(30):
                while _open_sockets(served):
                    worker.says("x" * 262_144)
                    await asyncio.sleep(0.002)
            socket.transport.resume_reading()
        worker.completes("whole")
        async with served.connect(f"?response_id={response}&starting_after=1") as again:
            last = json.loads(await again.recv())
            async with asyncio.timeout(10):
                while "response" not in last:
                    last = json.loads(await again.recv())

    assert last["response"]["id"] == response


def _open_sockets(served: Served) -> bool:
    metrics = served.bench.metrics.sockets._value.get()
    return bool(metrics)


async def test_client_of_the_sdk_speaks_over_the_socket() -> None:
    async with serving() as served:
        client = openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{served.port}/v1", api_key=served.bench.key
        )
        async with client, client.responses.connect() as connection:
            await connection.response.create(model="m", input="hi", stream_id="a")
            worker = await served.worker()
            worker.starts()
            worker.completes("hello")
            async with asyncio.timeout(10):
                async for event in connection:
                    last = event
                    if event.type == "response.completed":
                        break

    assert isinstance(last, ResponseCompletedEvent)
    assert last.response.output_text == "hello"
