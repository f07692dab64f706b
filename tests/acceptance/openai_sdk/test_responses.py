"""The newest `openai` package, unmodified, against a whole stack: the Responses API."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response
from pydantic import BaseModel

from tests.acceptance.openai_sdk.conftest import ScriptedStack

LOOKUP: Any = {
    "type": "function",
    "name": "lookup",
    "description": "Looks something up.",
    "parameters": {
        "type": "object",
        "properties": {"query": {"type": "string"}},
        "required": ["query"],
        "additionalProperties": False,
    },
    "strict": True,
}


pytestmark = pytest.mark.timeout(300)


class Person(BaseModel):
    """What the fake provider says with `json=valid`."""

    name: str
    age: int


def ended(client: OpenAI, response: Response, *, within_s: float = 60) -> Response:
    """Poll, as OpenAI's guide does."""
    until = time.monotonic() + within_s
    while response.status in ("queued", "in_progress"):
        assert time.monotonic() < until, f"still {response.status}"
        time.sleep(0.2)
        response = client.responses.retrieve(response.id)
    return response


def test_create_gives_the_answer_and_it_can_be_fetched_again(client: OpenAI) -> None:
    response = client.responses.create(
        model="fake",
        input="hello [[echo=1]]",
        instructions="Be brief.",
        metadata={"ticket": "4711"},
        temperature=0.5,
        max_output_tokens=100,
    )

    assert response.status == "completed"
    assert response.output_text == "hello [[echo=1]]"
    assert response.usage is not None
    assert response.usage.total_tokens > 0
    assert (response.instructions, response.metadata) == ("Be brief.", {"ticket": "4711"})
    assert client.responses.retrieve(response.id) == response


async def test_create_with_the_async_client(aclient: AsyncOpenAI) -> None:
    response = await aclient.responses.create(model="fake", input="hello [[echo=1]]")

    assert response.output_text == "hello [[echo=1]]"


def test_create_when_the_limit_of_tokens_is_met_is_incomplete(client: OpenAI) -> None:
    response = client.responses.create(
        model="fake", input="talk [[tokens=50;finish=length]]", max_output_tokens=5
    )

    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_stream_brings_every_event_in_order(client: OpenAI) -> None:
    with client.responses.stream(model="fake", input="hello [[tokens=4;reasoning=2]]") as stream:
        events = list(stream)
        final = stream.get_final_response()

    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert "response.reasoning_text.delta" in kinds
    assert [event.sequence_number for event in events] == list(range(len(events)))
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == final.output_text
    assert client.responses.retrieve(final.id).output_text == said


def test_background_is_queued_at_once_and_can_be_polled(client: OpenAI) -> None:
    response = client.responses.create(model="fake", input="hello", background=True)

    assert response.status == "queued"
    assert ended(client, response).status == "completed"


def test_background_stream_is_resumed_after_the_gateway_was_killed(
    scripted: ScriptedStack, client: OpenAI
) -> None:
    stream = client.responses.create(
        model="fake", input="long [[tokens=120;rate=30]]", background=True, stream=True
    )
    gateway = scripted.stack.pid("gateway")
    seen: list[Any] = []
    with pytest.raises((openai.APIError, httpx.TransportError)):
        _read_and_kill(stream, seen, gateway)
    first = seen[0]
    assert first.type == "response.created"

    rest = list(_resumed(client, first.response.id, after=seen[-1].sequence_number))

    numbers = [event.sequence_number for event in [*seen, *rest]]
    assert numbers == list(range(len(numbers)))
    said = "".join(
        event.delta for event in [*seen, *rest] if event.type == "response.output_text.delta"
    )
    final = client.responses.retrieve(first.response.id)
    assert (final.status, final.output_text) == ("completed", said)


def _read_and_kill(stream: Iterator[Any], seen: list[Any], pid: int) -> None:
    for event in stream:
        seen.append(event)
        if event.sequence_number == 20:
            os.kill(pid, signal.SIGKILL)


def _resumed(client: OpenAI, response_id: str, *, after: int) -> Iterator[Any]:
    """Come again until the gateway is back."""
    until = time.monotonic() + 60
    while True:
        try:
            return iter(client.responses.retrieve(response_id, stream=True, starting_after=after))
        except (openai.APIConnectionError, openai.InternalServerError):
            assert time.monotonic() < until, "the gateway does not come back"
            time.sleep(0.5)


def test_two_clients_resume_the_same_stream_and_see_the_same(client: OpenAI) -> None:
    response = client.responses.create(
        model="fake", input="talk [[tokens=40;rate=40]]", background=True
    )

    early = client.responses.retrieve(response.id, stream=True, starting_after=0)
    late = client.responses.retrieve(response.id, stream=True, starting_after=10)
    left = [event.to_dict() for event in early]
    right = [event.to_dict() for event in late]

    assert [event["sequence_number"] for event in left] == list(range(1, len(left) + 1))
    assert right == left[10:]


def test_a_client_that_leaves_at_the_first_event_finds_a_finished_response(
    client: OpenAI,
) -> None:
    stream = client.responses.create(model="fake", input="talk [[tokens=30]]", stream=True)
    first = next(iter(stream))
    stream.close()

    assert first.type == "response.created"
    response = ended(client, client.responses.retrieve(first.response.id))
    assert response.status == "completed"
    assert response.output_text != ""


def test_cancel_ends_a_background_response_and_one_that_is_over_stays_as_it_is(
    client: OpenAI,
) -> None:
    running = client.responses.create(
        model="fake", input="talk [[tokens=2000;rate=20]]", background=True
    )
    done = client.responses.create(model="fake", input="hello")

    assert ended(client, client.responses.cancel(running.id)).status == "cancelled"
    assert client.responses.cancel(done.id) == done


def test_delete_is_for_good(client: OpenAI) -> None:
    response = client.responses.create(model="fake", input="hello")

    client.responses.delete(response.id)

    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.retrieve(response.id)
    assert caught.value.type == "invalid_request_error"
    with pytest.raises(openai.NotFoundError):
        client.responses.input_items.list(response.id)


def test_a_response_that_is_not_stored_cannot_be_fetched(client: OpenAI) -> None:
    response = client.responses.create(model="fake", input="hello", store=False)

    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_input_items_are_those_of_the_turn_page_by_page(client: OpenAI) -> None:
    response = client.responses.create(
        model="fake",
        instructions="Be brief.",
        input=[
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": [{"type": "input_text", "text": "three"}]},
        ],
    )

    items: list[Any] = list(client.responses.input_items.list(response.id, limit=2, order="asc"))

    assert [(item.role, item.content[0].text) for item in items] == [
        ("user", "one"),
        ("assistant", "two"),
        ("user", "three"),
    ]


def test_previous_response_id_goes_on_with_all_that_was_said(client: OpenAI) -> None:
    first = client.responses.create(
        model="fake", input="I am Ada [[tokens=2]]", instructions="Be brief."
    )
    second = client.responses.create(
        model="fake", input="who am I? [[echo=1]]", previous_response_id=first.id
    )

    assert second.previous_response_id == first.id
    assert second.output_text == "who am I? [[echo=1]]"
    items: list[Any] = list(client.responses.input_items.list(second.id))
    assert [item.content[0].text for item in items] == ["who am I? [[echo=1]]"]


def test_previous_response_id_that_is_unknown_is_a_bad_request(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="fake", input="x", previous_response_id="resp_" + "0" * 42)

    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"


def test_parse_gives_the_value_that_the_schema_describes(client: OpenAI) -> None:
    response = client.responses.parse(model="fake", input="who? [[json=valid]]", text_format=Person)

    assert response.output_parsed == Person(name="Ada", age=36)


def test_tools_are_called_and_their_outputs_are_read(client: OpenAI) -> None:
    first = client.responses.create(model="fake", input="look [[tools=2]]", tools=[LOOKUP])

    calls = [item for item in first.output if item.type == "function_call"]
    assert [(call.name, call.arguments) for call in calls] == [("lookup", '{"query": "x"}')] * 2

    outputs: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "42"} for call in calls
    ]
    second = client.responses.create(
        model="fake",
        input=[*outputs, {"role": "user", "content": "and? [[echo=1]]"}],
        previous_response_id=first.id,
        tools=[LOOKUP],
    )
    assert second.output_text == "and? [[echo=1]]"


def test_streamed_tools_bring_their_arguments(client: OpenAI) -> None:
    with client.responses.stream(model="fake", input="look [[tools=1]]", tools=[LOOKUP]) as stream:
        events = list(stream)
        final = stream.get_final_response()

    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == '{"query": "x"}'
    assert final.output[0].type == "function_call"


def test_what_is_not_to_be_had_here_is_refused_by_name(client: OpenAI) -> None:
    hosted: Any = [{"type": "web_search"}]
    with pytest.raises(openai.BadRequestError, match="web_search") as tools:
        client.responses.create(model="fake", input="x", tools=hosted)
    image: Any = [
        {"role": "user", "content": [{"type": "input_image", "image_url": "https://x.test/a.png"}]}
    ]
    with pytest.raises(openai.BadRequestError, match="input_image") as media:
        client.responses.create(model="fake", input=image)

    assert tools.value.param == "tools[0].type"
    assert media.value.param == "input[0].content[0].type"
