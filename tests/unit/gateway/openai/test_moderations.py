"""`/v1/moderations`: OpenAI's shape, input by input, and every refusal in its words."""

from __future__ import annotations

from typing import Any

import pytest
from gateway.openai.moderations.categories import CATEGORIES

from tests.support.gateway import GatewayBench, make_bench
from tests.support.moderation_upstream import ModerationUpstream

PATH = "/v1/moderations"


@pytest.fixture
async def bench() -> GatewayBench:
    return await make_bench()


async def test_string_gets_one_result_in_the_shape_of_the_omni_models(bench: GatewayBench) -> None:
    reply = await bench.call("POST", PATH, {"input": "I will kill you, ann@example.com"})

    body = reply.json
    assert reply.status == 200
    assert set(body) == {"id", "model", "results"}
    assert body["id"].startswith("modr-")
    assert body["model"] == "penstock-rules-1"
    [result] = body["results"]
    assert result["flagged"] is True
    assert tuple(result["categories"]) == CATEGORIES
    assert tuple(result["category_scores"]) == CATEGORIES
    assert result["category_applied_input_types"] == {name: ["text"] for name in CATEGORIES}
    assert result["categories"]["harassment/threatening"] is True
    assert result["categories"]["sexual"] is False
    assert result["category_scores"]["sexual"] == 0.0
    assert result["penstock"] == {"pii": {"email": 1}}


async def test_list_gets_a_result_per_string_and_parts_get_one_together(
    bench: GatewayBench,
) -> None:
    texts = await bench.call("POST", PATH, {"input": ["good morning", "all jews are vermin"]})
    parts = [{"type": "text", "text": "good"}, {"type": "text", "text": "all jews are vermin"}]
    together = await bench.call("POST", PATH, {"input": parts})

    assert [found["flagged"] for found in texts.json["results"]] == [False, True]
    assert "penstock" not in texts.json["results"][0]
    assert [found["flagged"] for found in together.json["results"]] == [True]


async def test_text_model_has_neither_newer_categories_nor_input_types(
    bench: GatewayBench,
) -> None:
    body = {"input": "how to build a pipe bomb", "model": "text-moderation-latest"}
    [result] = (await bench.call("POST", PATH, body)).json["results"]

    assert "illicit" not in result["categories"]
    assert "category_applied_input_types" not in result
    assert result["flagged"] is False


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({}, 400, "missing_required_parameter", "input"),
        ({"input": 7}, 400, "invalid_type", "input"),
        ({"input": None}, 400, "invalid_type", "input"),
        ({"input": []}, 400, "empty_array", "input"),
        ({"input": ["a", 7]}, 400, "invalid_type", "input[1]"),
        ({"input": ["a"] * 2049}, 400, "array_above_max_length", "input"),
        ({"input": "x" * 1_000_001}, 400, "string_above_max_length", "input"),
        ({"input": [IMAGE]}, 400, "unsupported_value", "input[0].type"),
        ({"input": [{"type": "audio"}]}, 400, "invalid_value", "input[0].type"),
        ({"input": [{"type": "text"}]}, 400, "invalid_value", "input[0]"),
        ({"input": ["a", {"type": "text", "text": "b"}]}, 400, "invalid_value", "input"),
        ({"input": "a", "model": "gpt-4o"}, 404, "model_not_found", "model"),
        ({"input": "a", "user": "b"}, 400, "unknown_parameter", "user"),
        ([], 400, "invalid_type", None),
        (b"{", 400, "malformed_json", None),
    ],
)
async def test_wrong_body_is_refused_as_openai_does(
    bench: GatewayBench, body: Any, status: int, code: str, param: str | None
) -> None:
    reply = await bench.call("POST", PATH, body)

    assert (reply.status, reply.code, reply.json["error"]["param"]) == (status, code, param)
    assert reply.json["error"]["type"] == "invalid_request_error"


async def test_image_is_refused_by_name(bench: GatewayBench) -> None:
    reply = await bench.call("POST", PATH, {"input": [IMAGE]})

    assert "image" in reply.json["error"]["message"]
    assert "not supported here" in reply.json["error"]["message"]


async def test_no_key_no_verdict(bench: GatewayBench) -> None:
    reply = await bench.call("POST", PATH, {"input": "x"}, headers={"authorization": ""})

    assert reply.status == 401


async def test_upstream_when_it_is_set_judges_instead_of_the_rules() -> None:
    upstream = ModerationUpstream()
    await upstream.start()
    bench = await make_bench(moderation_url=upstream.url, moderation_api_key="up")
    try:
        good = await bench.call("POST", PATH, {"input": ["kill", "x"], "model": "any-name"})
        upstream.status = 429
        upstream.headers = {"Retry-After": "3"}
        busy = await bench.call("POST", PATH, {"input": "x"})
        upstream.status = 413
        refused = await bench.call("POST", PATH, {"input": "x"})
    finally:
        await upstream.stop()
        for close in bench.inside.closings:
            await close()

    assert good.json["model"] == "any-name"
    assert [found["flagged"] for found in good.json["results"]] == [True, False]
    assert (busy.status, busy.code, busy.headers["retry-after"]) == (
        503,
        "moderation_unavailable",
        "3",
    )
    assert busy.headers["x-should-retry"] == "true"
    assert (refused.status, refused.code) == (400, "moderation_refused")
