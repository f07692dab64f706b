"""The compliance cases of Open Responses, by their names, sent as they are sent there.

Source: https://www.openresponses.org/compliance; the image case is refused here, by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.acceptance.openai_sdk.conftest import MODEL, ScriptedStack

pytestmark = pytest.mark.timeout(300)

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
MEMBERS = {
    "background",
    "completed_at",
    "created_at",
    "error",
    "frequency_penalty",
    "id",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "object",
    "output",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "status",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "usage",
}
"""What a response has to have, be it null."""
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather of a place.",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string"}},
        "required": ["location"],
    },
}


@pytest.fixture
def http(scripted: ScriptedStack) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {scripted.api_key}"}
    with httpx.Client(base_url=scripted.base_url, headers=headers, timeout=60) as client:
        yield client


def message(role: str, content: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


def answered(http: httpx.Client, **body: Any) -> Response:
    reply = http.post("/responses", json={"model": MODEL, "stream": False, **body})
    assert reply.status_code == 200, reply.text
    value = reply.json()
    assert value.keys() >= MEMBERS
    return Response.model_validate(value)


def streamed(http: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    """The events; each is one that the standard knows."""
    reply = http.post("/responses", json={"model": MODEL, "stream": True, **body})
    assert reply.status_code == 200, reply.text
    events = []
    for line in reply.text.splitlines():
        if line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            EVENT.validate_python(event)
            events.append(event)
    assert events[-1]["response"].keys() >= MEMBERS
    return events


def test_basic_response(http: httpx.Client) -> None:
    response = answered(http, input=[message("user", "Say hello in three words.")])

    assert response.status == "completed"
    assert response.output


def test_streaming_response(http: httpx.Client) -> None:
    events = streamed(http, input=[message("user", "Count from 1 to 5.")])

    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["status"] == "completed"


def test_system_prompt(http: httpx.Client, scripted: ScriptedStack) -> None:
    pirate = message("system", "You are a pirate.")
    response = answered(http, input=[pirate, message("user", "Say hello.")])

    assert response.status == "completed"
    assert response.output
    assert scripted.provider.calls()


def test_tool_calling(http: httpx.Client) -> None:
    asked = message("user", "How is the weather in Lisbon? [[tools=1]]")
    response = answered(http, input=[asked], tools=[WEATHER])

    assert any(item.type == "function_call" for item in response.output)


def test_tool_calling_streaming(http: httpx.Client) -> None:
    asked = message("user", "How is the weather in Lisbon? [[tools=1]]")
    events = streamed(http, input=[asked], tools=[WEATHER])

    kinds = [event["type"] for event in events]
    for kind in ("response.output_item.added", "response.output_item.done"):
        assert events[kinds.index(kind)]["item"]["type"] == "function_call"
    assert "response.function_call_arguments.delta" in kinds
    assert "response.function_call_arguments.done" in kinds


def test_image_input_is_refused_by_name(http: httpx.Client) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    parts = [{"type": "input_text", "text": "What is it?"}, image]
    reply = http.post("/responses", json={"model": MODEL, "input": [message("user", parts)]})

    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "unsupported_value")
    assert error["param"] == "input[0].content[1].type"
    assert "input_image" in error["message"]


def test_multi_turn(http: httpx.Client) -> None:
    turns = [
        message("user", "My name is Alice."),
        message("assistant", "Hello Alice!"),
        message("user", "What is my name?"),
    ]
    response = answered(http, input=turns)

    assert response.status == "completed"
    assert response.output


def test_previous_response_id(http: httpx.Client) -> None:
    first = answered(http, input=[message("user", "My name is Alice.")])
    second = answered(
        http, input=[message("user", "What is my name?")], previous_response_id=first.id
    )

    assert second.status == "completed"
    assert second.previous_response_id == first.id
