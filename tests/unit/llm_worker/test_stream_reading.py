"""What servers really send: chunks, errors and whole answers that differ from OpenAI's."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from llm_worker.assembly import Answer
from llm_worker.chunks import ChunkReader
from llm_worker.errors import Permanent, ProviderFault, Transient
from llm_worker.ports import Finish, Piece
from llm_worker.provider_status import fault_of_status
from llm_worker.stream_errors import fault_in_stream

SECRET = "the prompt says sk-canary-4711"


def reader(*, choices: int = 1) -> ChunkReader:
    return ChunkReader("fake", choices=choices, max_bytes=10**6, max_pieces=10**4)


def event(**chunk: Any) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def text(content: str, **choice: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": content}, **choice}])


def read_whole(body: bytes, *, choices: int = 1) -> tuple[ChunkReader, Answer]:
    made, answer = reader(choices=choices), Answer()
    for at in range(0, len(body), 7):
        answer.add(made.feed(body[at : at + 7]))
    answer.add(made.end())
    return made, answer


def test_empty_finish_reason_is_no_finish() -> None:
    read = reader()

    batch = read.feed(text("half", finish_reason=""))

    assert not read.is_finished
    assert not any(isinstance(part, Finish) for part in batch)


def test_usage_of_zeros_in_each_chunk_leaves_a_cut_answer_estimated() -> None:
    read, answer = reader(), Answer()

    answer.add(
        read.feed(
            event(
                choices=[{"index": 0, "delta": {"content": "some words"}}],
                usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
            )
        )
    )

    usage = answer.usage([{"content": "hello you"}])
    assert usage.estimated
    assert usage.input_tokens
    assert usage.output_tokens


def test_done_without_any_choice_is_no_answer() -> None:
    read = reader()

    read.feed(b"data: [DONE]\n\n")

    assert read.is_done
    assert not read.is_complete


def test_done_after_text_is_an_answer_also_without_finish_reason() -> None:
    read = reader()

    read.feed(text("all of it") + b"data: [DONE]\n\n")

    assert read.is_complete


@pytest.mark.parametrize(
    ("error", "family", "code", "status"),
    [
        ({"code": "500"}, Transient, "provider_failed", 500),
        ({"code": 502, "message": SECRET}, Transient, "provider_failed", 502),
        (
            {"code": "429", "type": "TooManyRequests"},
            Transient,
            "provider_rate_limited",
            429,
        ),
        ({"code": 408}, Transient, "provider_failed", 408),
        ({"type": "api_error"}, Transient, "provider_stream_error", None),
        ({"message": SECRET}, Transient, "provider_stream_error", None),
        (SECRET, Transient, "provider_stream_error", None),
        ({"code": 0, "message": SECRET}, Transient, "provider_stream_error", None),
        ({"type": "server_error", "code": None}, Transient, "provider_stream_error", None),
        ({"code": 401, "message": SECRET}, Permanent, "provider_auth_failed", 401),
        ({"code": "insufficient_quota"}, Permanent, "provider_quota_exceeded", 400),
        ({"type": "insufficient_quota", "code": 429}, Permanent, "provider_quota_exceeded", 429),
        ({"code": "context_length_exceeded"}, Permanent, "context_length_exceeded", 400),
        ({"code": "content_filter"}, Permanent, "content_filter", 400),
        ({"type": "invalid_request_error"}, Permanent, "provider_stream_error", None),
        ({"code": 400, "message": SECRET}, Permanent, "provider_refused_request", 400),
    ],
)
@pytest.mark.parametrize("as_stream", [True, False])
def test_error_in_a_200_answer_keeps_its_meaning(
    error: Any, family: type[ProviderFault], code: str, status: int | None, *, as_stream: bool
) -> None:
    body = event(error=error) if as_stream else orjson.dumps({"error": error})

    with pytest.raises(family) as caught:
        read_whole(body)

    assert (caught.value.code, caught.value.status) == (code, status)
    assert caught.value.was_charged
    assert "sk-canary" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        {"code": 400, "type": "exceed_context_size_error", "message": SECRET},
        {
            "code": 400,
            "type": "BadRequestError",
            "message": f"This model's maximum context length is 4096 tokens. {SECRET}",
        },
        {"code": "context_length_exceeded", "message": SECRET},
    ],
)
def test_too_long_a_prompt_has_one_code_whatever_the_server(error: dict[str, Any]) -> None:
    fault = fault_of_status("fake", 400, {}, error)

    assert isinstance(fault, Permanent)
    assert fault.code == "context_length_exceeded"
    assert "sk-canary" not in str(fault)


@pytest.mark.parametrize("indent", [None, orjson.OPT_INDENT_2])
def test_answer_in_one_piece_is_read_as_the_stream_would_be(indent: int | None) -> None:
    message = {
        "role": "assistant",
        "content": "hello",
        "reasoning_content": "hm",
        "tool_calls": [
            {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": "1"}}
            for name in ("a", "b")
        ],
    }
    whole = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }

    made, answer = read_whole(b"\n " + orjson.dumps(whole, option=indent))

    assert made.is_complete
    [choice] = answer.choices()
    assert (choice.text, choice.reasoning, choice.finish_reason) == ("hello", "hm", "tool_calls")
    assert [(call.id, call.name) for call in choice.tool_calls] == [
        ("call_a", "a"),
        ("call_b", "b"),
    ]
    usage = answer.usage([])
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (3, 4, False)


@pytest.mark.parametrize("body", [b'{"choices": [{"ind', b'{"choices": 7}', b'{"choices": [1]}'])
def test_json_that_is_no_answer_is_a_bad_stream(body: bytes) -> None:
    with pytest.raises(Transient) as caught:
        read_whole(body)

    assert caught.value.code == "provider_bad_stream"


def test_json_without_choices_is_no_answer() -> None:
    made, _ = read_whole(b'{"status": "ok"}')

    assert not made.is_complete


def test_token_without_text_keeps_its_probability() -> None:
    read, answer = reader(), Answer()
    half, rest, end = ([{"token": name, "logprob": -0.1}] for name in ("half", "rest", "end"))

    answer.add(read.feed(text("", logprobs={"content": half})))
    answer.add(read.feed(text("x", logprobs={"content": rest})))
    answer.add(
        read.feed(
            event(
                choices=[
                    {"index": 0, "delta": {}, "logprobs": {"content": end}, "finish_reason": "stop"}
                ]
            )
        )
    )

    [choice] = answer.choices()
    assert (choice.text, choice.logprobs) == ("x", [*half, *rest, *end])
    assert answer.usage([]).output_tokens == 3


def test_probabilities_of_a_tool_call_are_not_those_of_the_text() -> None:
    read = reader()
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "1"}}
    logprobs = {"content": [{"token": "1", "logprob": -0.1}]}

    batch = read.feed(
        event(choices=[{"index": 0, "delta": {"tool_calls": [call]}, "logprobs": logprobs}])
    )

    assert [part.kind for part in batch if isinstance(part, Piece)] == ["tool_call"]


def test_finish_reason_with_output_may_be_one_of_many() -> None:
    read = reader()

    read.feed(text("a", finish_reason="stop"))
    assert (read.is_settled, read.is_closing) == (True, False)

    read.feed(text("b", finish_reason="stop"))
    assert (read.is_settled, read.is_closing) == (False, False)

    read.feed(b"data: [DONE]\n\n")
    assert read.is_complete


def test_finish_reason_of_its_own_announces_the_end() -> None:
    read = reader()
    read.feed(text("a"))

    read.feed(event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))

    assert (read.is_settled, read.is_closing) == (True, True)


@pytest.mark.parametrize(
    "error",
    [
        {"code": 429},
        {"code": 503},
        {"code": 502},
        {"code": 400},
        {"code": "context_length_exceeded"},
        {"type": "overloaded_error"},
        {"type": "invalid_request_error"},
        {"message": "boom"},
    ],
)
def test_call_that_failed_in_its_answer_is_not_repeated_where_it_may_cost_once(
    error: dict[str, Any],
) -> None:
    fault = fault_in_stream("fake", error)

    assert (fault.was_charged, fault.was_refused) == (True, False)
