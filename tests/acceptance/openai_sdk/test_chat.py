"""`client.chat.completions` of the `openai` package, unmodified, against real processes."""

from __future__ import annotations

import asyncio
import json
import uuid

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from tests.acceptance.openai_sdk.conftest import MODEL, ScriptedStack

pytestmark = pytest.mark.timeout(300)

LOOKUP: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "lookup", "parameters": {"type": "object"}},
}


class Person(BaseModel):
    """What the scripted answer is."""

    name: str
    age: int


def said(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def test_chat_when_created_is_a_completion_and_a_job(
    client: openai.OpenAI, scripted: ScriptedStack
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=said("hello"), max_completion_tokens=3, seed=1, service_tier="flex"
    )
    completion = raw.parse()

    assert completion.id.startswith("chatcmpl-")
    assert completion.choices[0].message.content == "alf bra cha "
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 3
    assert completion.service_tier == "flex"
    assert raw.headers["x-request-id"].startswith("req_")
    assert int(raw.headers["openai-processing-ms"]) >= 0
    job = raw.headers["x-penstock-job"]
    answer = httpx2.get(
        f"{scripted.base_url}/jobs/{job}",
        headers={"authorization": f"Bearer {scripted.api_key}"},
    )
    assert answer.json()["status"] == "completed"
    assert answer.json()["priority"] == "low"


def test_stream_when_read_brings_every_token_and_the_usage(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=said("hello"),
            stream=True,
            n=2,
            stream_options={"include_usage": True},
        )
    )

    texts = ["", ""]
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == ["alf bra cha del ech fox "] * 2
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 12
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert [reason for reason in reasons if reason] == ["stop", "stop"]


async def test_stream_when_the_client_helper_reads_it_gives_events_and_the_whole(
    aclient: openai.AsyncOpenAI,
) -> None:
    async with aclient.chat.completions.stream(
        model=MODEL, messages=said("[[reasoning=2;tokens=3]]")
    ) as stream:
        kinds = [event.type async for event in stream]
        completion = await stream.get_final_completion()

    assert "content.delta" in kinds
    assert kinds[-1] == "content.done"
    assert completion.choices[0].message.content == "alf bra cha "


@pytest.mark.parametrize("is_streamed", [False, True])
def test_tools_when_called_come_back_whole(client: openai.OpenAI, is_streamed: bool) -> None:
    asked = said("[[tools=2]]")
    if is_streamed:
        with client.chat.completions.stream(model=MODEL, messages=asked, tools=[LOOKUP]) as stream:
            completion = stream.get_final_completion()
        message = completion.choices[0].message.model_dump()
    else:
        whole = client.chat.completions.create(
            model=MODEL,
            messages=asked,
            tools=[LOOKUP],
            tool_choice="auto",
            parallel_tool_calls=True,
        )
        assert whole.choices[0].finish_reason == "tool_calls"
        message = whole.choices[0].message.model_dump()

    calls = message["tool_calls"]
    assert [call["id"] for call in calls] == ["call_0", "call_1"]
    assert {call["function"]["name"] for call in calls} == {"lookup"}
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"query": "x"}] * 2


def test_tools_when_answered_let_the_chat_go_on(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(
        model=MODEL, messages=said("[[tools=1]]"), tools=[LOOKUP]
    )
    message = first.choices[0].message
    assert message.tool_calls is not None

    again = client.chat.completions.create(
        model=MODEL,
        messages=[
            *said("please look"),
            message.model_dump(),  # type: ignore[list-item]  # as users pass answers back
            {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "found"},
        ],
    )

    assert again.choices[0].message.content


def test_parse_when_the_answer_fits_gives_the_model(client: openai.OpenAI) -> None:
    completion = client.chat.completions.parse(
        model=MODEL, messages=said("[[json=valid]]"), response_format=Person
    )

    assert completion.choices[0].message.parsed == Person(name="Ada", age=36)


async def test_answers_when_asked_for_at_once_are_all_told_apart(
    aclient: openai.AsyncOpenAI,
) -> None:
    answers = await asyncio.gather(
        *(
            aclient.chat.completions.create(model=MODEL, messages=said(f"[[echo=1]] {number}"))
            for number in range(20)
        )
    )

    texts = [answer.choices[0].message.content or "" for answer in answers]
    assert [text.split()[-1] for text in texts] == [str(number) for number in range(20)]


def test_key_when_repeated_replays_the_same_answer(client: openai.OpenAI) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}

    def ask(text: str) -> tuple[str | None, str]:
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=said(text), extra_headers=headers
        )
        return raw.headers.get("idempotent-replayed"), raw.parse().model_dump_json()

    first, again = ask("one"), ask("one")

    assert (first[0], again[0]) == (None, "true")
    assert first[1] == again[1]
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        ask("two")
    assert refused.value.code == "idempotency_key_reused"


def test_stream_when_left_and_asked_again_with_its_key_goes_on(
    client: openai.OpenAI, scripted: ScriptedStack
) -> None:
    key = uuid.uuid4().hex
    asked = said(f"[[tokens=60;rate=60]] {key}")
    headers = {"Idempotency-Key": key}

    left = client.chat.completions.create(
        model=MODEL, messages=asked, stream=True, extra_headers=headers
    )
    for chunk in left:
        if chunk.choices[0].delta.content:
            break
    left.close()
    again = client.chat.completions.create(
        model=MODEL, messages=asked, stream=True, extra_headers=headers
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in again)

    assert len(text.split()) == 60
    calls = [call for call in scripted.provider.calls() if key in call.get("first_user", "")]
    assert len([call for call in calls if call["event"] == "charged"]) == 1


def test_stream_when_left_without_a_key_ends_the_call_of_the_provider(
    client: openai.OpenAI, scripted: ScriptedStack
) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=said("[[tokens=600;rate=20]]"), stream=True
    )
    job = stream.response.headers["x-penstock-job"]
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    stream.close()

    with httpx2.stream(
        "GET",
        f"{scripted.base_url}/jobs/{job}/events",
        headers={"authorization": f"Bearer {scripted.api_key}"},
        timeout=60,
    ) as events:
        events.read()  # until the job is over
    state = httpx2.get(
        f"{scripted.base_url}/jobs/{job}",
        headers={"authorization": f"Bearer {scripted.api_key}"},
    ).json()
    assert state["status"] == "cancelled"
    assert state["usage"]["output_tokens"] > 0
