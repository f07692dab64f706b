"""Everything that a body or a header may get wrong: a clear error, never a 5xx, nothing written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.gateway import GatewayBench, make_bench

SECRET_TEXT = "my-very-private-prompt"
CHAT: dict[str, Any] = {"task": "chat", "input": "hi"}

MALFORMED = [
    b"",
    b"{",
    b"nul",
    b'{"task": "chat",}',
    b'{"task": NaN}',
    b'{"task": Infinity}',
    b'{"task": -Infinity}',
    b"{'task': 'chat'}",
    b'{"task": "chat"} trailing',
    b'\xef\xbb\xbf{"task": "chat"}',
    b'{"task": "\xff\xfe"}',
    b'{"task": "\xc3"}',
    b'{"task": "\xed\xa0\x80"}',
    b'{"task": "\\ud800"}',
    b'{"task": "\\uD834"}',
    b'{"task": "a\x00b"}',
    b'{"task": 01}',
    b'{"task": 1.}',
    b'{"task": +1}',
    b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
    b"[" * 100_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
]

WRONG: list[tuple[Any, str, str | None]] = [
    ([], "invalid_request", None),
    ("text", "invalid_request", None),
    (None, "invalid_request", None),
    (12, "invalid_request", None),
    ({}, "invalid_request", "task"),
    ({"task": "chat"}, "invalid_request", "input"),
    ({"task": 5, "input": "x"}, "invalid_request", "task"),
    ({"task": "Chat", "input": "x"}, "invalid_request", "task"),
    ({"task": "paint", "input": "x"}, "unknown_task", "task"),
    ({**CHAT, "surprise": 1}, "invalid_request", "surprise"),
    ({**CHAT, "s" * 5000: 1}, "invalid_request", None),
    ({**CHAT, "model": ""}, "invalid_request", "model"),
    ({**CHAT, "priority": "urgent"}, "invalid_request", "priority"),
    ({**CHAT, "params": {"temperature": 9}}, "invalid_request", "params.temperature"),
    ({**CHAT, "params": {"tempo": 1}}, "invalid_request", "params.tempo"),
    ({**CHAT, "deadline_s": 0}, "invalid_request", "deadline_s"),
    ({**CHAT, "deadline_s": -1}, "invalid_request", "deadline_s"),
    ({**CHAT, "deadline_s": 1e300}, "invalid_request", "deadline_s"),
    ({**CHAT, "conversation": "no spaces allowed"}, "invalid_request", "conversation"),
    ({**CHAT, "charge": "never"}, "invalid_request", "charge"),
    ({**CHAT, "metadata": {"a": 1}}, "invalid_request", "metadata.a"),
    ({**CHAT, "metadata": {str(n): "x" for n in range(17)}}, "invalid_request", "metadata"),
    ({"task": "chat", "input": 5}, "invalid_request", "input"),
    ({"task": "chat", "input": []}, "invalid_request", "input"),
    ({"task": "chat", "input": {}}, "invalid_request", "input.messages"),
    ({"task": "chat", "input": {"messages": []}}, "invalid_request", "input.messages"),
    ({"task": "embed", "input": {"texts": [""]}}, "invalid_request", "input.texts.0"),
    ({"task": "embed", "input": ""}, "invalid_request", "input.texts.0"),
    ({"task": "generate", "input": ""}, "invalid_request", "input.prompt"),
    ({"task": "search", "input": "where"}, "invalid_request", "input"),
    ({"task": "ingest", "input": "text"}, "invalid_request", "input"),
    (
        {"task": "chat", "input": {"messages": [{"role": "boss", "content": SECRET_TEXT}]}},
        "invalid_request",
        "input.messages.0.role",
    ),
    (
        {"task": "chat", "input": {"messages": [{"role": "user", "content": 5}]}},
        "invalid_request",
        None,
    ),
]


@pytest.fixture
async def bench() -> GatewayBench:
    return await make_bench()


def nothing_was_written(bench: GatewayBench) -> bool:
    return not any(bench.kafka.records(f"ai.{task}.requests.v1") for task in ("chat", "embed"))


@pytest.mark.parametrize("raw", MALFORMED, ids=lambda raw: repr(raw[:24]))
async def test_submit_when_json_is_malformed_answers_400(bench: GatewayBench, raw: bytes) -> None:
    reply = await bench.call("POST", "/v1/jobs", raw)

    assert (reply.status, reply.code) == (400, "malformed_json")
    assert nothing_was_written(bench)


@pytest.mark.parametrize(("body", "code", "param"), WRONG, ids=lambda value: str(value)[:40])
async def test_submit_when_a_field_is_wrong_names_it(
    bench: GatewayBench, body: Any, code: str, param: str | None
) -> None:
    raw = b"null" if body is None else body

    reply = await bench.call("POST", "/v1/jobs", raw)

    assert (reply.status, reply.code) == (422, code)
    if param is not None:
        assert reply.json["error"]["param"] == param
    assert len(reply.body) < 2000
    assert SECRET_TEXT.encode() not in reply.body
    assert nothing_was_written(bench)


async def test_submit_when_task_is_unknown_lists_the_known_ones(bench: GatewayBench) -> None:
    reply = await bench.call("POST", "/v1/jobs", {"task": "paint", "input": "x"})

    assert "chat, conversation, embed, generate, ingest, search" in reply.json["detail"]


async def test_submit_when_models_are_known_refuses_others() -> None:
    bench = await make_bench(models=["small"])

    reply = await bench.call("POST", "/v1/jobs", {**CHAT, "model": "huge"})

    assert (reply.status, reply.code) == (422, "unknown_model")
    assert "small" in reply.json["detail"]
    assert (await bench.call("POST", "/v1/jobs", {**CHAT, "model": "small"})).status == 202


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
    ],
)
async def test_submit_when_content_type_is_not_json_answers_415(
    bench: GatewayBench, content_type: str
) -> None:
    reply = await bench.call("POST", "/v1/jobs", CHAT, headers={"content-type": content_type})

    assert (reply.status, reply.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "application/x+json"]
)
async def test_submit_when_content_type_is_json_is_accepted(
    bench: GatewayBench, content_type: str
) -> None:
    reply = await bench.call("POST", "/v1/jobs", CHAT, headers={"content-type": content_type})

    assert reply.status == 202


async def test_submit_when_body_is_announced_too_large_answers_413() -> None:
    bench = await make_bench(max_body_bytes=2048)

    reply = await bench.call(
        "POST", "/v1/jobs", CHAT, headers={"content-length": "99999999999999999999999"}
    )

    assert (reply.status, reply.code) == (413, "body_too_large")
    assert reply.headers["connection"] == "close"


async def test_submit_when_body_is_too_large_answers_413() -> None:
    bench = await make_bench(max_body_bytes=2048)

    reply = await bench.call(
        "POST", "/v1/jobs", {"task": "chat", "input": "x" * 3000}, headers={"content-length": "10"}
    )

    assert (reply.status, reply.code) == (413, "body_too_large")


async def test_submit_when_params_alone_are_too_large_answers_413(bench: GatewayBench) -> None:
    tools = [{"type": "function", "function": {"description": "x" * 900_000}}]

    reply = await bench.call("POST", "/v1/jobs", {**CHAT, "params": {"tools": tools}})

    assert (reply.status, reply.code) == (413, "body_too_large")


@pytest.mark.parametrize("key", ['""', "ä", "x" * 256, "tab\tinside", " "])
async def test_submit_when_idempotency_key_is_no_key_names_the_header(
    bench: GatewayBench, key: str
) -> None:
    reply = await bench.call("POST", "/v1/jobs", CHAT, headers={"Idempotency-Key": key})

    assert (reply.status, reply.code) == (422, "invalid_parameter")
    assert reply.json["error"]["param"] == "Idempotency-Key"


async def test_submit_when_preference_is_garbage_ignores_it(bench: GatewayBench) -> None:
    for preference in (
        "wait=soon",
        "wait=",
        "wait=-3",
        ";;;",
        "handling=strict",
        "wait=9999999999",
    ):
        reply = await bench.call("POST", "/v1/jobs", CHAT, headers={"Prefer": preference})
        assert reply.status == 202
        assert "preference-applied" not in reply.headers


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/jobs", "GET, HEAD, POST"),
        ("PUT", "/v1/jobs/job_1", "GET, HEAD"),
        ("GET", "/v1/socket-tickets", "POST"),
        ("GET", "/v1/jobs/job_1/cancel", "POST"),
        ("BREW", "/v1/jobs", "GET, HEAD, POST"),
    ],
)
async def test_any_address_when_method_is_wrong_tells_the_right_ones(
    bench: GatewayBench, method: str, path: str, allow: str
) -> None:
    reply = await bench.call(method, path)

    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert reply.headers["allow"] == allow


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/jobs/", "/v1/jobs/a/b/c", "/v2/jobs", "/healthz"]
)
async def test_any_address_when_there_is_none_answers_404(bench: GatewayBench, path: str) -> None:
    reply = await bench.call("GET", path)

    assert (reply.status, reply.code) == (404, "not_found")


@pytest.mark.parametrize(
    "query",
    [
        "status=finished",
        "limit=0",
        "limit=101",
        "limit=ten",
        "limit=-1",
        "limit=%D9%A3",
        "after=nonsense",
        "after=",
        "task=%00",
        "user=" + "x" * 300,
        "unknown=1",
    ],
)
async def test_list_when_a_parameter_is_wrong_names_it(bench: GatewayBench, query: str) -> None:
    reply = await bench.call("GET", f"/v1/jobs?{query}")

    assert (reply.status, reply.code) == (422, "invalid_parameter")
    assert reply.json["error"]["param"] == query.partition("=")[0]


@pytest.mark.parametrize("position", ["x", "1", "1-", "-1", "1-2-3", "9" * 40 + "-1", "1-\u0663"])
async def test_events_when_position_is_none_names_the_parameter(
    bench: GatewayBench, position: str
) -> None:
    job = (await bench.call("POST", "/v1/jobs", CHAT)).json["id"]

    reply = await bench.call("GET", f"/v1/jobs/{job}/events?starting_after={position}")

    assert (reply.status, reply.code) == (422, "invalid_parameter")
