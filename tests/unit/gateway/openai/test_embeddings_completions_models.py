"""Embeddings, completions and models over in-memory parts."""

from __future__ import annotations

import struct
from base64 import b64decode
from typing import Any

import orjson
import pytest
from gateway.errors import ApiError
from gateway.openai.embeddings.asked import embedding_ask, field_of_input
from gateway.openai.known_models import KnownModels
from penstock_contracts.events import Completed, Failed, Started
from penstock_contracts.parts import Choice, EmbedOutput, JobError, TextDelta, Usage
from penstock_contracts.requests import EmbedInput

from tests.support.gateway import GatewayBench, OpenCall, make_bench
from tests.support.openai_answers import Worker, chunks_of

MODELS = KnownModels(chat=None, embedding={"e": "penstock"}, created=1)


@pytest.fixture
async def bench() -> GatewayBench:
    return await make_bench(models=["m"], embedding_models=["e"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", {"texts": ["a"]}),
        (["a", "b"], {"texts": ["a", "b"]}),
        ([1, 2], {"tokens": [[1, 2]]}),
        ([[1], [2, 3]], {"tokens": [[1], [2, 3]]}),
    ],
)
def test_input_when_good_is_what_the_embedder_takes(given: Any, expected: dict[str, Any]) -> None:
    found = embedding_ask({"model": "e", "input": given}, MODELS)

    assert found.ask.input == expected
    EmbedInput.model_validate(found.ask.input)


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"input": ""}, "empty_string", "input"),
        ({"input": []}, "empty_array", "input"),
        ({"input": None}, "invalid_type", "input"),
        ({"input": 5}, "invalid_type", "input"),
        ({"input": ["a", ""]}, "empty_string", "input[1]"),
        ({"input": ["a", 1]}, "invalid_type", "input[1]"),
        ({"input": [1, "a"]}, "invalid_type", "input[1]"),
        ({"input": [[1], []]}, "empty_array", "input[1]"),
        ({"input": [[1], "a"]}, "invalid_type", "input[1]"),
        ({"input": [[1, True]]}, "invalid_type", "input[0][1]"),
        ({"input": [[-1]]}, "integer_below_min_value", "input[0][0]"),
        ({"input": ["a"] * 2049}, "array_above_max_length", "input"),
        ({"input": [1] * 8193}, "array_above_max_length", "input"),
        ({"dimensions": 0}, "integer_below_min_value", "dimensions"),
        ({"encoding_format": "hex"}, "invalid_value", "encoding_format"),
        ({"model": "x"}, "model_not_found", None),
    ],
)
def test_input_when_wrong_is_refused_with_code_and_place(
    change: dict[str, Any], code: str, param: str | None
) -> None:
    with pytest.raises(ApiError) as refused:
        embedding_ask({"model": "e", "input": "a", **change}, MODELS)

    assert (refused.value.kind.code, refused.value.details.param) == (code, param)


def test_field_when_the_embedder_names_it_is_the_callers() -> None:
    assert field_of_input("input.texts.3") == "input[3]"
    assert field_of_input("input.dimensions") == "dimensions"


async def embedded(bench: GatewayBench, **change: Any) -> OpenCall:
    call = OpenCall(bench, "/v1/embeddings", {"model": "e", "input": "a", **change})
    job = await bench.written_job("ai.embed.requests.v1")
    place = {"job": job, "attempt": 1, "at": bench.clock.now()}
    bench.feed(Started(**place, seq=1, task="embed", worker="w"))
    if change.get("dimensions"):
        error = JobError(
            type="invalid_request_error", code="no", message="no", param="input.dimensions"
        )
        bench.feed(Failed(**place, seq=2, error=error))
    else:
        output = EmbedOutput(model="e", dimensions=2, vectors=[[0.5, -0.25]])
        bench.feed(Completed(**place, seq=2, output=output, usage=Usage(input_tokens=4)))
    await call.end()
    return call


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embedding_when_done_is_written_as_asked(bench: GatewayBench, encoding: str) -> None:
    call = await embedded(bench, encoding_format=encoding)

    body = orjson.loads(await call.end())
    vector = body["data"][0]["embedding"]
    if encoding == "base64":
        vector = list(struct.unpack("<2f", b64decode(vector)))
    assert vector == [0.5, -0.25]
    assert body["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert body["object"] == "list"


async def test_embedding_when_refused_names_the_callers_field(bench: GatewayBench) -> None:
    call = await embedded(bench, dimensions=7)

    assert call.status == 400
    assert orjson.loads(await call.end())["error"]["param"] == "dimensions"


async def test_completion_when_done_gives_the_prompt_back_and_old_logprobs(
    bench: GatewayBench,
) -> None:
    body = {"model": "m", "prompt": ["hi "], "echo": True, "logprobs": 1}
    call = OpenCall(bench, "/v1/completions", body)
    job = await bench.written_job()

    worker = Worker(bench, job)
    worker.starts()
    logprobs: list[Any] = [
        {"token": "yo", "logprob": -0.5, "top_logprobs": [{"token": "yo", "logprob": -0.5}]}
    ]
    worker.completes(
        choices=[Choice(index=0, text="yo", logprobs=logprobs, finish_reason="length")]
    )
    answer = orjson.loads(await call.end())

    assert answer["id"] == "cmpl-" + job[4:]
    assert answer["choices"][0]["text"] == "hi yo"
    assert answer["choices"][0]["logprobs"] == {
        "tokens": ["yo"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{"yo": -0.5}],
        "text_offset": [3],
    }


async def test_completion_when_streamed_sends_pieces_and_the_end_mark(bench: GatewayBench) -> None:
    call = OpenCall(bench, "/v1/completions", {"model": "m", "prompt": "hi", "stream": True})
    job = await bench.written_job()

    worker = Worker(bench, job)
    worker.starts()
    worker.says("a")
    worker.says("b")
    worker.completes("abc")
    text = await call.end()

    pieces = [chunk["choices"][0]["text"] for chunk in chunks_of(text)]
    assert pieces == ["a", "b", "c", ""]
    assert chunks_of(text)[-1]["choices"][0]["finish_reason"] == "stop"
    assert text.endswith("data: [DONE]\n\n")


async def test_completion_when_a_token_has_no_text_streams_its_probability(
    bench: GatewayBench,
) -> None:
    body = {"model": "m", "prompt": "hi", "stream": True, "logprobs": 0}
    call = OpenCall(bench, "/v1/completions", body)
    job = await bench.written_job()

    worker = Worker(bench, job)
    worker.starts()
    x, end = ([{"token": token, "logprob": -0.1}] for token in ("x", ""))
    worker.says(TextDelta(text="x", logprobs=x))
    worker.says(TextDelta(text="", logprobs=end))
    worker.completes(choices=[Choice(index=0, text="x", logprobs=[*x, *end], finish_reason="stop")])
    choices = [chunk["choices"][0] for chunk in chunks_of(await call.end())]

    told = [choice["logprobs"] for choice in choices if choice["logprobs"]]
    assert [one["tokens"] for one in told] == [["x"], [""]]
    assert [one["text_offset"] for one in told] == [[0], [1]]


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"prompt": ["a", "b"]}, "unsupported_value", "prompt"),
        ({"prompt": [1, 2]}, "unsupported_value", "prompt"),
        ({"prompt": ""}, "empty_string", "prompt"),
        ({"suffix": "x"}, "unsupported_parameter", "suffix"),
        ({"best_of": 3}, "unsupported_value", "best_of"),
        ({"logprobs": 6}, "integer_above_max_value", "logprobs"),
    ],
)
async def test_completion_when_wrong_is_refused_with_code_and_place(
    bench: GatewayBench, change: dict[str, Any], code: str, param: str
) -> None:
    reply = await bench.call("POST", "/v1/completions", {"model": "m", "prompt": "a", **change})

    assert (reply.status, reply.code, reply.json["error"]["param"]) == (400, code, param)


async def test_models_when_listed_are_objects_by_name(bench: GatewayBench) -> None:
    listed = (await bench.call("GET", "/v1/models")).json
    one = await bench.call("GET", "/v1/models/m")
    none = await bench.call("GET", "/v1/models/org/other")

    assert [model["id"] for model in listed["data"]] == ["e", "m"]
    assert one.json == listed["data"][1]
    assert (none.status, none.code, none.json["error"]["param"]) == (
        404,
        "model_not_found",
        "model",
    )


async def test_models_when_the_caller_is_unknown_are_not_shown(bench: GatewayBench) -> None:
    reply = await bench.call("GET", "/v1/models", key="sk-other")

    assert (reply.status, reply.code) == (401, "invalid_api_key")
    assert reply.json["error"]["type"] == "invalid_request_error"
