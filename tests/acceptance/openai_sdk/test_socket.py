"""`client.responses.connect` of the `openai` package, unmodified, at real processes."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest
from openai.types.responses import ResponseCompletedEvent
from openai.types.responses.responses_server_event import ResponseWsError
from websockets.asyncio.client import connect

from tests.acceptance.openai_sdk.conftest import MODEL, ScriptedStack

pytestmark = pytest.mark.timeout(180)


async def test_streams_of_one_socket_end_each_with_its_response(
    aclient: openai.AsyncOpenAI,
) -> None:
    ends: dict[str | None, str] = {}
    async with aclient.responses.connect() as connection, asyncio.timeout(60):
        for stream_id in ("a", "b", "c"):
            await connection.response.create(model=MODEL, input="hi", stream_id=stream_id)
        async for event in connection:
            if isinstance(event, ResponseCompletedEvent):
                ends[getattr(event, "stream_id", None)] = event.response.output_text
            if len(ends) == 3:
                break

    assert set(ends) == {"a", "b", "c"}
    assert all(ends.values())


async def test_error_of_a_frame_is_typed_and_the_socket_goes_on(
    aclient: openai.AsyncOpenAI,
) -> None:
    async with aclient.responses.connect() as connection, asyncio.timeout(60):
        await connection.response.create(model="no-such-model", input="hi")
        error = await connection.recv()
        await connection.response.create(model=MODEL, input="hi")
        first = await connection.recv()

    assert isinstance(error, ResponseWsError)
    assert (error.status, error.error.code) == (404, "model_not_found")
    assert first.type == "response.created"


async def test_response_is_resumed_on_another_socket_after_any_event(
    aclient: openai.AsyncOpenAI, scripted: ScriptedStack
) -> None:
    url = scripted.base_url.replace("http", "ws", 1) + "/responses"
    headers = {"Authorization": f"Bearer {scripted.api_key}"}
    frame = {"type": "response.create", "model": MODEL, "input": "hi"}
    async with connect(url, additional_headers=headers) as socket, asyncio.timeout(60):
        await socket.send(json.dumps(frame))
        seen = [json.loads(await socket.recv()) for _ in range(2)]
    query = {"response_id": seen[0]["response"]["id"], "starting_after": 1}
    numbers = [event["sequence_number"] for event in seen]
    async with aclient.responses.connect(extra_query=query) as connection, asyncio.timeout(60):
        async for event in connection:
            numbers.append(getattr(event, "sequence_number", -1))
            if event.type == "response.completed":
                break

    assert numbers == list(range(len(numbers)))


async def test_socket_without_a_key_is_refused(scripted: ScriptedStack) -> None:
    client = openai.AsyncOpenAI(base_url=scripted.base_url, api_key="pk_0.wrong")
    with pytest.raises(Exception, match="401"):
        await client.responses.connect().enter()
    await client.close()
