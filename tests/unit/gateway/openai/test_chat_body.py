"""Bodies of chats: every refusal in OpenAI's words, and what of a good one reaches the worker."""

from __future__ import annotations

from typing import Any

import pytest
from gateway.error_kinds import REGISTRY
from gateway.errors import ApiError
from gateway.openai.asking import Follow
from gateway.openai.chat.asked import ChatAsk, chat_ask
from gateway.openai.chat.body import ChatBody
from gateway.openai.chat.messages import Message
from gateway.openai.known_models import KnownModels
from penstock_contracts.requests import ChatInput, Params, Priority

MODELS = KnownModels(chat={"m": "main"}, embedding={}, created=1)
HELLO = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x.test"}}


def asked(**change: Any) -> ChatAsk:
    body = {"model": "m", "messages": [HELLO], **change}
    return chat_ask({name: value for name, value in body.items() if value is not ...}, MODELS)


def call(**function: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "a", "type": "function", "function": function}],
    }


def tool(parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters, **more}}


CALLED = call(name="f", arguments="{}")
RESULT = {"role": "tool", "tool_call_id": "a", "content": "42"}
PARAMETERS = "tools[0].function.parameters"

WRONG: list[tuple[dict[str, Any], str, str | None]] = [
    ({"messages": ...}, "missing_required_parameter", "messages"),
    ({"model": ...}, "missing_required_parameter", "model"),
    ({"messages": []}, "empty_array", "messages"),
    ({"messages": 5}, "invalid_type", "messages"),
    ({"messages": [5]}, "invalid_type", "messages[0]"),
    ({"messages": [{"role": "x", "content": "h"}]}, "invalid_value", "messages[0].role"),
    ({"messages": [{"content": "h"}]}, "missing_required_parameter", "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "invalid_type", "messages[0].content"),
    ({"messages": [{"role": "user"}]}, "invalid_type", "messages[0].content"),
    ({"messages": [{**HELLO, "mood": 1}]}, "unknown_parameter", "messages[0].mood"),
    (
        {"messages": [HELLO, {"role": "user", "content": [{"type": "text", "text": 1}]}]},
        "invalid_type",
        "messages[1].content[0].text",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "missing_required_parameter",
        "messages[0].content[0].text",
    ),
    (
        {"messages": [{"role": "user", "content": [IMAGE]}]},
        "unsupported_value",
        "messages[0].content[0].type",
    ),
    (
        {"messages": [{"role": "tool", "content": "x"}]},
        "missing_required_parameter",
        "messages[0].tool_call_id",
    ),
    (
        {"messages": [call(name="f")]},
        "missing_required_parameter",
        "messages[0].tool_calls[0].function.arguments",
    ),
    ({"temperature": 3}, "decimal_above_max_value", "temperature"),
    ({"temperature": -1}, "decimal_below_min_value", "temperature"),
    ({"temperature": "1"}, "invalid_type", "temperature"),
    ({"n": 0}, "integer_below_min_value", "n"),
    ({"n": 129}, "integer_above_max_value", "n"),
    ({"n": 1.5}, "invalid_type", "n"),
    ({"n": True}, "invalid_type", "n"),
    ({"stream": "yes"}, "invalid_type", "stream"),
    ({"stop": ["a"] * 5}, "array_above_max_length", "stop"),
    ({"stop": []}, "empty_array", "stop"),
    ({"stop": 5}, "invalid_type", "stop"),
    ({"stop": ["a", 1]}, "invalid_type", "stop[1]"),
    ({"user": "x" * 513}, "string_above_max_length", "user"),
    ({"metadata": {str(n): "x" for n in range(17)}}, "object_above_max_properties", "metadata"),
    ({"metadata": {"a": 1}}, "invalid_type", "metadata.a"),
    ({"logit_bias": {"7": 101}}, "decimal_above_max_value", "logit_bias.7"),
    ({"reasoning_effort": "huge"}, "invalid_value", "reasoning_effort"),
    ({"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
    (
        {"response_format": {"type": "json_schema"}},
        "missing_required_parameter",
        "response_format.json_schema",
    ),
    ({"tools": [{"type": "custom"}]}, "unsupported_value", "tools[0].type"),
    (
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "invalid_value",
        "tools[0].function.name",
    ),
    ({"tools": [TOOL], "tool_choice": "always"}, "invalid_value", "tool_choice"),
    (
        {
            "tools": [TOOL],
            "tool_choice": {"type": "function", "function": {"name": "g"}},
        },
        "invalid_combination",
        "tool_choice",
    ),
    ({"tool_choice": "auto"}, "invalid_combination", "tool_choice"),
    ({"stream_options": {"include_usage": True}}, "invalid_combination", "stream_options"),
    ({"top_logprobs": 3}, "invalid_combination", "top_logprobs"),
    ({"max_tokens": 1, "max_completion_tokens": 1}, "invalid_combination", "max_tokens"),
    ({"tools": []}, "empty_array", "tools"),
    (
        {"messages": [{"role": "assistant", "content": "x", "tool_calls": []}]},
        "empty_array",
        "messages[0].tool_calls",
    ),
    ({"messages": [HELLO, RESULT]}, "invalid_combination", "messages.[1].role"),
    (
        {"messages": [HELLO, CALLED, HELLO]},
        "invalid_combination",
        "messages.[2].role",
    ),
    ({"messages": [HELLO, CALLED]}, "invalid_combination", "messages"),
    (
        {"messages": [HELLO, CALLED, {**RESULT, "tool_call_id": "b"}]},
        "invalid_combination",
        "messages.[2].tool_call_id",
    ),
    ({"response_format": {"type": "json_object"}}, "invalid_combination", "messages"),
    (
        {"response_format": {"type": "json_object", "json_schema": {"name": "x"}}},
        "unknown_parameter",
        "response_format.json_schema",
    ),
    (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "strict": True, "schema": {"type": "object"}},
            }
        },
        "invalid_combination",
        "response_format",
    ),
    ({"tools": [tool({"type": "string"})]}, "invalid_function_parameters", PARAMETERS),
    ({"tools": [tool({"type": "object"}, strict=True)]}, "invalid_function_parameters", PARAMETERS),
    ({"logit_bias": {"word": 1}}, "invalid_combination", "logit_bias"),
    (
        {"stream": True, "stream_options": {"include_obfuscation": True}},
        "unsupported_value",
        "stream_options.include_obfuscation",
    ),
    (
        {"messages": [{"role": "assistant", "content": "x", "function_call": {"name": "f"}}]},
        "unsupported_parameter",
        "messages[0].function_call",
    ),
    (
        {"messages": [{"role": "assistant", "content": "x", "audio": {"id": "a"}}]},
        "unsupported_parameter",
        "messages[0].audio",
    ),
    ({"modalities": ["text", "audio"]}, "unsupported_value", "modalities"),
    ({"audio": {"voice": "x"}}, "unsupported_parameter", "audio"),
    ({"functions": []}, "unsupported_parameter", "functions"),
    ({"colour": "blue"}, "unknown_parameter", "colour"),
    ({"model": "gpt-9"}, "model_not_found", None),
]


@pytest.mark.parametrize(("change", "code", "param"), WRONG)
def test_body_when_wrong_is_refused_with_code_and_place(
    change: dict[str, Any], code: str, param: str | None
) -> None:
    with pytest.raises(ApiError) as refused:
        asked(**change)

    assert (refused.value.kind.code, refused.value.details.param) == (code, param)
    assert refused.value.kind.family == "invalid_request_error"
    assert refused.value.kind.status == (404 if code == "model_not_found" else 400)


@pytest.mark.parametrize("value", [None, 1, "x", [], [{}]])
def test_body_when_no_object_is_refused(value: Any) -> None:
    with pytest.raises(ApiError) as refused:
        chat_ask(value, MODELS)

    assert refused.value.kind.code == "invalid_type"


def test_body_when_good_is_a_job_that_the_worker_takes() -> None:
    found = asked(
        max_completion_tokens=9,
        temperature=1,
        stop=["a"],
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "f"}},
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        logit_bias={"7": -5},
        reasoning_effort="low",
        service_tier="priority",
        metadata={"a": "b"},
        stream=True,
        seed=None,
    )

    params = Params.model_validate(found.ask.params)
    assert params.max_tokens == 9
    assert params.logit_bias == {"7": -5}
    assert found.ask.priority is Priority.HIGH
    assert found.ask.follow is Follow.EVENTS
    assert found.ask.metadata == {"a": "b"}
    assert found.style.tier == "priority"
    assert found.ask.surface is not None
    assert "seed" not in found.ask.params


def test_messages_when_an_answer_is_passed_back_are_taken() -> None:
    answer = {
        **call(name="f", arguments="{}", parsed_arguments={}),
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "reasoning_content": "hm",
    }
    parts = [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]
    silent = {"role": "assistant", "content": None, "refusal": "no"}

    said = [HELLO, answer, RESULT, {"role": "assistant", "content": parts}, silent]
    found = asked(messages=said)

    messages = ChatInput.model_validate(found.ask.input).messages
    assert messages[1].tool_calls is not None
    assert messages[4].content == "no"
    assert found.ask.input["messages"][3]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]


ODD: list[Any] = [None, True, 0, -1, 1.5, 10**30, "", "x", [], [None], ["x"], [{}], [[]], {}]
ODD += [{"type": "function"}, {"type": None}, {"x": {}}, [{"type": "function", "function": 1}]]


@pytest.mark.parametrize("field", [*ChatBody.model_fields, *ChatBody.refused])
def test_field_when_anything_is_in_it_is_taken_or_refused_in_order(field: str) -> None:
    for value in ODD:
        for change in ({field: value}, {field: value, "stream": True, "tools": [TOOL]}):
            code = outcome(change)
            assert code == "taken" or REGISTRY[code].status in (400, 404), value


def test_message_when_anything_is_in_it_is_taken_or_refused_in_order() -> None:
    for role in ("user", "assistant", "tool"):
        for field in Message.model_fields:
            for value in ODD:
                code = outcome({"messages": [{"role": role, "content": "x", field: value}]})
                assert code == "taken" or REGISTRY[code].status == 400, (role, field, value)


def outcome(change: dict[str, Any]) -> str:
    try:
        found = asked(**change)
    except ApiError as refused:
        return refused.kind.code
    ChatInput.model_validate(found.ask.input)
    Params.model_validate(found.ask.params)
    return "taken"
