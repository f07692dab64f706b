"""The adapter against bodies that real servers send and OpenAI does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
import pytest
from aiohttp import web
from llm_worker.assembly import Answer
from llm_worker.errors import Permanent, Transient
from llm_worker.openai_provider import OpenAIProvider
from llm_worker.ports import Batch, Call
from llm_worker.providers_file import ProviderEntry

FINISHED = (
    b'data: {"choices":[{"index":0,"delta":{"content":"whole"},"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)


@dataclass
class OddServer:
    """Answers each call with `body`; `stays_open` never ends it."""

    body: bytes = b""
    kind: str = "text/event-stream"
    status: int = 200
    stays_open: bool = False
    calls: int = 0
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The scripted answer."""
        self.calls += 1
        response = web.StreamResponse(status=self.status, headers={"content-type": self.kind})
        await response.prepare(request)
        await response.write(self.body)
        if self.stays_open:
            await asyncio.get_running_loop().create_future()
        return response


@pytest.fixture(name="server")
async def server_fixture() -> AsyncIterator[OddServer]:
    server = OddServer()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.answer)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    await runner.cleanup()


async def answer_of(server: OddServer) -> Answer:
    provider = OpenAIProvider("odd", ProviderEntry.model_validate({"base_url": server.url}))
    answer = Answer()

    def sink(batch: Batch) -> float:
        answer.add(batch)
        return 0.0

    messages = [{"role": "user", "content": "hello"}]
    call = Call(model="m", messages=messages, job="job_1", attempt=1, timeout_s=60)
    try:
        async with asyncio.timeout(20):
            await provider.run(call, sink, on_sent=lambda: None)
    finally:
        await provider.close()
    return answer


async def test_complete_answer_whose_stream_stays_open_is_kept(server: OddServer) -> None:
    server.body, server.stays_open = FINISHED, True

    answer = await answer_of(server)

    [choice] = answer.choices()
    assert (choice.text, choice.finish_reason) == ("whole", "stop")
    assert answer.usage([{"content": "hello"}]).estimated


async def test_done_alone_is_tried_again(server: OddServer) -> None:
    server.body = b"data: [DONE]\n\n"

    with pytest.raises(Transient) as caught:
        await answer_of(server)

    assert (caught.value.code, caught.value.was_charged) == ("provider_stream_cut", True)


async def test_answer_in_one_piece_is_an_answer(server: OddServer) -> None:
    message = {"role": "assistant", "content": "whole"}
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    server.body = orjson.dumps({"choices": [choice], "usage": usage})
    server.kind = "application/json"

    answer = await answer_of(server)

    assert [(one.text, one.finish_reason) for one in answer.choices()] == [("whole", "length")]
    assert not answer.usage([]).estimated


async def test_error_in_one_piece_keeps_its_meaning(server: OddServer) -> None:
    error = {"code": 400, "type": "exceed_context_size_error", "message": "private"}
    server.body, server.kind = orjson.dumps({"error": error}), "application/json"

    with pytest.raises(Permanent) as caught:
        await answer_of(server)

    assert caught.value.code == "context_length_exceeded"


async def test_error_of_older_vllm_is_the_body_itself(server: OddServer) -> None:
    said = "This model's maximum context length is 4096 tokens. private"
    body = {"object": "error", "message": said, "type": "BadRequestError", "code": 400}
    server.body, server.status = orjson.dumps(body), 400

    with pytest.raises(Permanent) as caught:
        await answer_of(server)

    assert caught.value.code == "context_length_exceeded"
    assert "private" not in str(caught.value)
