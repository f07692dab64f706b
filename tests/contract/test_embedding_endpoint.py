"""The endpoint's adapter on a real port: what it sends, and what it makes of odd answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from embedder.errors import ModelAway
from embedder.openai_model import OpenAIModel
from embedder.ports import ModelSpec
from penstock_kit.errors import Rejected

SPEC = ModelSpec(name="m", provider="endpoint", dimensions=2, max_tokens=100)
GOOD = {
    "data": [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 0]}],
    "usage": {"prompt_tokens": 7},
}


@dataclass
class Endpoint:
    """Answers every call with `body`; an empty one trickles and never ends."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    trickles: bool = False
    seen: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The scripted answer."""
        self.seen.append((dict(request.headers), await request.json()))
        if not self.trickles:
            return web.json_response(self.body, status=self.status, headers=self.headers)
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)


@pytest.fixture(name="endpoint")
async def endpoint_fixture() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    app = web.Application()
    app.router.add_post("/v1/embeddings", endpoint.answer)
    app.router.add_post("/elsewhere", endpoint.answer)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield endpoint
    await runner.cleanup()


async def embedded(endpoint: Endpoint, *, timeout_s: float = 10) -> Any:
    model = OpenAIModel(
        SPEC, base_url=endpoint.url, api_key="sk-1", timeout=timedelta(seconds=timeout_s)
    )
    await model.start()
    try:
        return await model.embed(await model.tokenize(["a", "b"]))
    finally:
        await model.stop()
        await model.stop()


async def test_good_answer_gives_unit_rows_in_order_and_the_bill(endpoint: Endpoint) -> None:
    endpoint.body = GOOD

    answer = await embedded(endpoint)

    assert np.allclose(answer.vectors, [[1, 0], [0, 1]])
    assert answer.billed_tokens == 7
    [(headers, asked)] = endpoint.seen
    assert headers["Authorization"] == "Bearer sk-1"
    assert asked == {"model": "m", "input": ["a", "b"], "encoding_format": "float"}


async def test_redirect_is_not_followed_with_the_texts(endpoint: Endpoint) -> None:
    endpoint.status, endpoint.headers = 307, {"location": "/elsewhere"}

    with pytest.raises(ModelAway, match="HTTP 307"):
        await embedded(endpoint)

    assert len(endpoint.seen) == 1


async def test_answer_that_trickles_ends_with_the_time_of_the_call(endpoint: Endpoint) -> None:
    endpoint.trickles = True

    async with asyncio.timeout(20):
        with pytest.raises(ModelAway, match="does not answer"):
            await embedded(endpoint, timeout_s=0.3)


async def test_answer_beyond_what_was_asked_is_not_read_to_its_end(endpoint: Endpoint) -> None:
    endpoint.body = "x" * (4 * 1024 * 1024)

    with pytest.raises(ModelAway, match="too many"):
        await embedded(endpoint)


@pytest.mark.parametrize(
    "body",
    [
        "private words",
        {"object": "error", "message": "private words"},
        {"data": None},
        {"data": [{"index": 0}]},
        {"data": [1, 2]},
        {"data": [{"index": [], "embedding": []}]},
        {"data": [{"index": 0, "embedding": "private"}, {"index": 1, "embedding": [1, 2]}]},
        {"data": [{"index": 0, "embedding": ["a", "b"]}, {"index": 1, "embedding": [1, 2]}]},
        {"data": [{"index": 0, "embedding": [1, 2]}]},
        {**GOOD, "usage": [1]},
    ],
)
async def test_answer_that_is_no_list_of_vectors_blames_no_text(
    endpoint: Endpoint, body: Any
) -> None:
    endpoint.body = body

    with pytest.raises(ModelAway) as caught:
        await embedded(endpoint)

    assert "private" not in str(caught.value)


async def test_refused_text_is_told_apart_from_being_away(endpoint: Endpoint) -> None:
    endpoint.body = {"error": {"message": "private"}}
    endpoint.status, endpoint.headers = 429, {"retry-after": "7"}
    with pytest.raises(ModelAway) as away:
        await embedded(endpoint)
    endpoint.status = 400
    with pytest.raises(Rejected, match="refuses the text"):
        await embedded(endpoint)

    assert away.value.retry_after_s == 7
    assert "private" in away.value.answer
