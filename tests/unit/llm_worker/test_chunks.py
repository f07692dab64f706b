"""Chat chunks as providers send them, OpenAI's way and others."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from llm_worker.assembly import Answer
from llm_worker.chunks import ChunkReader
from penstock_contracts.parts import Choice, OutputSpan


def answered(*deltas: dict[str, Any]) -> Choice:
    """What a worker makes of these deltas of choice 0, each sent in a chunk of its own."""
    reader, answer = ChunkReader("fake", choices=1, max_bytes=10_000, max_pieces=100), Answer()
    for delta in deltas:
        chunk = {"choices": [{"index": 0, **delta}] if "delta" in delta else [{"delta": delta}]}
        answer.add(reader.feed(b"data: " + orjson.dumps(chunk) + b"\n\n"))
    (choice,) = answer.choices()
    return choice


def calls(*pieces: dict[str, Any]) -> dict[str, Any]:
    """A delta of tool calls; `name` and `arguments` stand for their function."""
    told = []
    for piece in pieces:
        function = {name: piece[name] for name in ("name", "arguments") if name in piece}
        told.append({**{k: v for k, v in piece.items() if k not in function}, "function": function})
    return {"tool_calls": told}


A = {"id": "call_a", "name": "f", "arguments": '{"a":1}'}
B = {"id": "call_b", "name": "g", "arguments": '{"b":2}'}
BOTH = [("call_a", "f", '{"a":1}'), ("call_b", "g", '{"b":2}')]


@pytest.mark.parametrize(
    "deltas",
    [
        [calls(A, B)],
        [calls(A), calls(B)],
        [calls({**A, "index": 0}, {**B, "index": 0})],
        [calls({**A, "index": None}), calls({**B, "index": None})],
        [calls({**A, "index": 1}), calls({**B, "index": 2})],
        [calls({**A, "index": 3}), calls({**B, "index": 0})],
        [
            calls({**A, "arguments": "", "index": 0}),
            calls({"index": 0, "arguments": '{"a"'}),
            calls({"index": 0, "arguments": ":1}"}),
            calls({**B, "index": 1}),
        ],
        [
            calls({"id": "call_a", "name": "f"}),
            calls({"arguments": '{"a":1}'}),
            calls({"id": "call_b", "name": "g"}),
            calls({"arguments": '{"b":2}'}),
        ],
        [
            calls({**A, "arguments": '{"a"'}),
            calls(B),
            calls({"id": "call_a", "arguments": ":1}"}),
        ],
        [
            calls({**A, "arguments": '{"a"', "index": 0}),
            calls({"id": "of_a_piece", "index": 0, "arguments": ":1}"}),
            calls({**B, "index": 1}),
        ],
    ],
    ids=[
        "no index in one chunk",
        "no index in two chunks",
        "index 0 for all",
        "index null",
        "from 1 on",
        "with holes",
        "as OpenAI sends them",
        "neither index nor id of later pieces",
        "ids again, no index",
        "a new id with each piece",
    ],
)
def test_calls_are_kept_apart_and_whole(deltas: list[dict[str, Any]]) -> None:
    choice = answered(*deltas)

    assert [(call.id, call.name, call.arguments) for call in choice.tool_calls] == BOTH


def test_calls_without_ids_and_indexes_are_told_apart_by_their_names() -> None:
    nameless = [{name: call[name] for name in ("name", "arguments")} for call in (A, B)]

    choice = answered(calls(*nameless))

    assert [call.id for call in choice.tool_calls] == ["call_0", "call_1"]
    assert [call.arguments for call in choice.tool_calls] == ['{"a":1}', '{"b":2}']


def test_call_keeps_the_id_of_its_first_piece_and_takes_a_late_name() -> None:
    choice = answered(
        calls({"index": 0, "arguments": '{"a"'}),
        calls({**A, "index": 0, "arguments": ":1}"}),
        calls({**B, "index": 1}),
    )

    told = [(call.id, call.name, call.arguments) for call in choice.tool_calls]
    assert told == [("call_0", "f", '{"a":1}'), BOTH[1]]


def test_pieces_number_calls_from_0_without_holes() -> None:
    reader = ChunkReader("fake", choices=1, max_bytes=10_000, max_pieces=100)
    chunk = {"choices": [{"delta": calls({**A, "index": 7}, {**B, "index": 9})}]}

    batch = reader.feed(b"data: " + orjson.dumps(chunk) + b"\n")

    assert [getattr(piece, "place", None) for piece in batch] == [0, 1]


@pytest.mark.parametrize(
    "deltas",
    [
        [{"reasoning_content": "hm"}, {"content": "a"}, {"content": "b"}, calls(A, B)],
        [{"content": "a"}, {"refusal": "no"}],
        [calls(A)],
    ],
)
def test_answer_in_the_usual_order_does_not_say_so(deltas: list[dict[str, Any]]) -> None:
    assert answered(*deltas).order is None


def test_answer_in_another_order_tells_it() -> None:
    entry = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}

    choice = answered(
        {"reasoning": "hm"},
        {"delta": {"content": "ab"}, "logprobs": {"content": [entry]}},
        calls({**A, "arguments": ""}),
        {"reasoning": "then"},
        calls({"arguments": "{}"}),
        {"delta": {"content": "c"}, "logprobs": {"content": [entry, entry]}},
        {"content": "d"},
    )

    assert choice.order == [
        OutputSpan(type="reasoning", length=2),
        OutputSpan(type="text", length=2, logprobs=1),
        OutputSpan(type="tool_call"),
        OutputSpan(type="reasoning", length=4),
        OutputSpan(type="text", length=2, logprobs=2),
    ]
