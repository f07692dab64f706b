"""Chat completions: whole and streamed, retries, leaving callers, errors, repeated keys."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from penstock_contracts.events import JobStatus
from penstock_contracts.parts import (
    ChatOutput,
    Choice,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from penstock_contracts.state import JobState
from penstock_contracts.topics import CONTROL

from tests.support.gateway import GatewayBench, OpenCall, make_bench
from tests.support.openai_answers import Worker, chunks_of, texts_of

PATH = "/v1/chat/completions"
HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**HELLO, "stream": True}
KEY = {"Idempotency-Key": "k1"}


@pytest.fixture
async def bench() -> GatewayBench:
    return await make_bench(
        models=["m"],
        heartbeat=timedelta(seconds=0.05),
        stream_frames=4,
        drain_patience=timedelta(seconds=0.05),
    )


def written(bench: GatewayBench) -> dict[str, Any]:
    record = bench.kafka.records("ai.chat.requests.v1")[-1]
    assert record.value is not None
    value: dict[str, Any] = orjson.loads(record.value)
    return value


async def begun(bench: GatewayBench, body: dict[str, Any], **headers: str) -> tuple[OpenCall, str]:
    call = OpenCall(bench, PATH, body, headers={n.replace("_", "-"): v for n, v in headers.items()})
    job = await bench.written_job()
    bench.feed_written()
    return call, job


async def test_chat_when_the_job_completes_is_the_completion(bench: GatewayBench) -> None:
    call, job = await begun(bench, {**HELLO, "max_completion_tokens": 7, "seed": 1})

    worker = Worker(bench, job)
    worker.starts()
    worker.completes("hello")
    body = orjson.loads(await call.end())

    assert call.status == 200
    assert body["id"] == "chatcmpl-" + job[4:]
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"] == "hello"
    assert body["usage"]["total_tokens"] == 8
    assert call.headers["x-penstock-job"] == job
    assert written(bench)["params"] == {"seed": 1, "max_tokens": 7}


async def test_stream_when_the_job_speaks_sends_each_piece_and_the_end_mark(
    bench: GatewayBench,
) -> None:
    call, job = await begun(bench, {**STREAM, "stream_options": {"include_usage": True}})

    worker = Worker(bench, job)
    worker.starts()
    worker.says("hel")
    await call.until('"hel"')
    worker.says("lo")
    worker.completes("hello")
    text = await call.end()

    chunks = chunks_of(text)
    assert texts_of(text) == ["hel", "lo"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    assert text.endswith("data: [DONE]\n\n")
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-" + job[4:]}


async def test_stream_when_tools_are_called_passes_their_pieces_on(bench: GatewayBench) -> None:
    call, job = await begun(bench, STREAM)

    worker = Worker(bench, job)
    worker.starts()
    worker.says(
        ReasoningDelta(text="hm"),
        ToolCallDelta(index=0, id="call_a", name="now", arguments=""),
        ToolCallDelta(index=0, arguments='{"tz":'),
        ToolCallDelta(index=0, arguments="1}"),
    )
    calls = [ToolCall(id="call_a", name="now", arguments='{"tz":1}')]
    worker.completes(
        choices=[Choice(index=0, reasoning="hm", tool_calls=calls, finish_reason="tool_calls")]
    )
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks_of(await call.end())]

    told = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert told[0] == {
        "index": 0,
        "id": "call_a",
        "type": "function",
        "function": {"name": "now", "arguments": ""},
    }
    assert "".join(one["function"]["arguments"] for one in told) == '{"tz":1}'
    assert {"reasoning_content": "hm"} in deltas


async def test_fast_is_another_name_of_priority(bench: GatewayBench) -> None:
    call = OpenCall(bench, PATH, {**HELLO, "service_tier": "fast"})
    job = await bench.written_job("ai.chat.requests.v1.high")
    bench.feed_written()
    worker = Worker(bench, job)
    worker.starts()
    worker.completes("hello")

    assert orjson.loads(await call.end())["service_tier"] == "priority"


async def test_stream_when_a_function_is_named_late_passes_the_name_on(bench: GatewayBench) -> None:
    call, job = await begun(bench, STREAM)

    worker = Worker(bench, job)
    worker.starts()
    worker.says(ToolCallDelta(index=0, id="a", arguments="{"))
    worker.says(ToolCallDelta(index=0, name="now", arguments="}"))
    calls = [ToolCall(id="a", name="now", arguments="{}")]
    worker.completes(choices=[Choice(index=0, tool_calls=calls, finish_reason="tool_calls")])
    chunks = chunks_of(await call.end())

    told = [one["choices"][0]["delta"].get("tool_calls") for one in chunks]
    functions = [calls[0]["function"] for calls in told if calls]
    assert "".join(one.get("name", "") for one in functions) == "now"
    assert "".join(one["arguments"] for one in functions) == "{}"


async def test_stream_when_a_retry_says_the_same_goes_on_where_it_was(bench: GatewayBench) -> None:
    call, job = await begun(bench, STREAM)
    first = Worker(bench, job)
    first.starts()
    first.says("one two ")
    await call.until("one two ")

    second = Worker(bench, job, attempt=2)
    second.starts()
    second.resets()
    second.says("one ")
    second.says("two three")
    second.completes("one two three")
    text = await call.end()

    assert texts_of(text) == ["one two ", "three"]
    assert text.endswith("data: [DONE]\n\n")


async def test_stream_when_a_retry_says_otherwise_ends_with_an_error(bench: GatewayBench) -> None:
    call, job = await begun(bench, STREAM)
    first = Worker(bench, job)
    first.starts()
    first.says("one two ")
    await call.until("one two ")

    second = Worker(bench, job, attempt=2)
    second.starts()
    second.says("another")
    text = await call.end()

    assert chunks_of(text)[-1]["error"]["code"] == "stream_reset"
    assert "[DONE]" not in text


async def test_stream_when_the_reader_is_slow_misses_nothing(bench: GatewayBench) -> None:
    call, job = await begun(bench, STREAM)
    worker = Worker(bench, job)
    worker.starts()
    # More than the mailbox holds, without the reader's turn in between.
    for number in range(20):
        worker.says(f"{number} ")
    worker.completes("".join(f"{number} " for number in range(20)))

    text = await call.end()

    assert "".join(texts_of(text)) == "".join(f"{number} " for number in range(20))
    assert text.endswith("data: [DONE]\n\n")


async def test_stream_when_the_job_fails_before_output_is_an_error_answer(
    bench: GatewayBench,
) -> None:
    call, job = await begun(bench, STREAM)

    worker = Worker(bench, job)
    worker.starts()
    worker.fails(type="invalid_request_error", code="context_length_exceeded", param="messages")
    body = orjson.loads(await call.end())

    assert call.status == 400
    assert body["error"] == {
        "message": "gave up",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }


async def test_stream_when_the_job_fails_after_output_ends_with_the_error(
    bench: GatewayBench,
) -> None:
    call, job = await begun(bench, STREAM)

    worker = Worker(bench, job)
    worker.starts()
    worker.says("hel")
    await call.until("hel")
    worker.fails()
    text = await call.end()

    assert chunks_of(text)[-1]["error"]["code"] == "provider_failed"


async def test_stream_when_nothing_happens_stays_alive(bench: GatewayBench) -> None:
    call, job = await begun(bench, STREAM)

    await call.until(": ping\n\n")

    worker = Worker(bench, job)
    worker.starts()
    worker.completes("hello")
    assert texts_of(await call.end()) == ["hello"]


@pytest.mark.parametrize(
    ("code", "lifetime"), [("expired_api_key", timedelta(hours=1)), ("revoked_api_key", None)]
)
async def test_stream_when_the_key_ends_meanwhile_tells_why(
    bench: GatewayBench, code: str, lifetime: timedelta | None
) -> None:
    bench.key = bench.new_key(lifetime=lifetime)
    call, job = await begun(bench, STREAM)
    worker = Worker(bench, job)
    worker.starts()
    worker.says("hel")
    await call.until("hel")

    if lifetime is None:
        bench.keys._keys.clear()
    else:
        bench.clock.advance(lifetime)

    assert chunks_of(await call.end())[-1]["error"]["code"] == code


async def test_chat_when_the_key_expires_meanwhile_is_an_error_answer(bench: GatewayBench) -> None:
    bench.key = bench.new_key(lifetime=timedelta(hours=1))
    call, _ = await begun(bench, HELLO)

    bench.clock.advance(timedelta(hours=1))

    assert orjson.loads(await call.end())["error"]["code"] == "expired_api_key"
    assert call.status == 401


@pytest.mark.parametrize("body", [HELLO, STREAM])
async def test_caller_when_it_leaves_without_a_key_ends_its_job(
    bench: GatewayBench, body: dict[str, Any]
) -> None:
    call, job = await begun(bench, body)

    await call.hang_up()

    [record] = bench.kafka.records(CONTROL.name)
    assert record.key == f"cancel:{job}".encode()


@pytest.mark.parametrize("body", [HELLO, STREAM])
async def test_caller_when_it_leaves_with_a_key_finds_its_answer_again(
    bench: GatewayBench, body: dict[str, Any]
) -> None:
    call, job = await begun(bench, body, Idempotency_Key="k1")
    await call.hang_up()
    assert bench.kafka.records(CONTROL.name) == []

    again = OpenCall(bench, PATH, body, headers=KEY)
    worker = Worker(bench, job)
    worker.starts()
    worker.completes("hello")
    text = await again.end()

    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-penstock-job"] == job
    assert "hello" in text
    assert len(bench.kafka.records("ai.chat.requests.v1")) == 1


async def test_key_when_its_job_is_over_gives_the_same_answer(bench: GatewayBench) -> None:
    call, job = await begun(bench, HELLO, Idempotency_Key="k1")
    created_at = bench.clock.now()
    worker = Worker(bench, job)
    worker.starts()
    worker.completes("hello")
    first = orjson.loads(await call.end())
    bench.table.states[job] = JobState(
        job=job,
        tenant="acme",
        user="ann",
        task="chat",
        status=JobStatus.COMPLETED,
        attempt=1,
        seq=2,
        model="m",
        created_at=created_at,
        usage=Usage(input_tokens=3, output_tokens=5),
        output=ChatOutput(choices=[Choice(index=0, text="hello", finish_reason="stop")]),
    )
    bench.clock.advance(timedelta(minutes=5))

    again = await bench.call("POST", PATH, HELLO, headers=KEY)
    other = await bench.call("POST", PATH, {**HELLO, "n": 2}, headers=KEY)

    assert again.json == first
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status, other.code) == (422, "idempotency_key_reused")


async def test_key_when_used_on_another_route_is_another_job(bench: GatewayBench) -> None:
    call, job = await begun(bench, HELLO, Idempotency_Key="k1")

    other = await bench.call("POST", "/v1/jobs", {"task": "chat", "input": "hi"}, headers=KEY)

    assert other.status == 202
    assert other.json["id"] != job
    await call.hang_up()


async def test_choices_when_several_are_told_apart(bench: GatewayBench) -> None:
    call, job = await begun(bench, {**STREAM, "n": 2})

    worker = Worker(bench, job)
    worker.starts()
    worker.says(TextDelta(choice=1, text="b"), TextDelta(choice=0, text="a"))
    worker.completes("a", "b")
    text = await call.end()

    assert (texts_of(text, 0), texts_of(text, 1)) == (["a"], ["b"])
    ends = [c["choices"][0]["index"] for c in chunks_of(text) if c["choices"][0]["finish_reason"]]
    assert ends == [0, 1]


async def test_gateway_when_it_drains_lets_callers_go(bench: GatewayBench) -> None:
    call, _ = await begun(bench, HELLO)

    for drain in bench.inside.drains:
        drain()
    bench.clock.advance(timedelta(seconds=1))
    body = orjson.loads(await call.end())

    assert call.status == 503
    assert body["error"]["code"] == "gateway_draining"
    assert bench.kafka.records(CONTROL.name) == []


async def test_stream_when_a_token_has_no_text_tells_its_probability(
    bench: GatewayBench,
) -> None:
    half, rest, end = ([{"token": name, "logprob": -0.1}] for name in ("half", "rest", "end"))
    call, job = await begun(bench, {**STREAM, "logprobs": True})

    worker = Worker(bench, job)
    worker.starts()
    worker.says(TextDelta(text="", logprobs=half))
    worker.says(TextDelta(text="x", logprobs=rest))
    worker.says(TextDelta(text="", logprobs=end))
    entries = [*half, *rest, *end]
    worker.completes(choices=[Choice(index=0, text="x", logprobs=entries, finish_reason="stop")])
    choices = [chunk["choices"][0] for chunk in chunks_of(await call.end())]

    told = [choice["logprobs"]["content"] for choice in choices if choice["logprobs"]]
    assert told == [half, rest, end]
