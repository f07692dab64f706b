"""What the `openai` package raises: the right class, with the right type, code and parameter."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.acceptance.openai_sdk.conftest import MODEL, ScriptedStack

pytestmark = pytest.mark.timeout(300)

HELLO: Any = [{"role": "user", "content": "hello"}]
IMAGE: Any = [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a"}}]}
]
AUDIO: Any = [
    {
        "role": "user",
        "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}],
    }
]

REFUSED: list[tuple[dict[str, Any], str, str | None]] = [
    ({"messages": []}, "empty_array", "messages"),
    ({"messages": [{"role": "nobody", "content": "x"}]}, "invalid_value", "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "invalid_type", "messages[0].content"),
    ({"temperature": 3}, "decimal_above_max_value", "temperature"),
    ({"n": 0}, "integer_below_min_value", "n"),
    ({"stop": ["a"] * 5}, "array_above_max_length", "stop"),
    ({"extra_body": {"colour": "blue"}}, "unknown_parameter", "colour"),
    ({"modalities": ["text", "audio"]}, "unsupported_value", "modalities"),
    ({"web_search_options": {}}, "unsupported_parameter", "web_search_options"),
    ({"messages": IMAGE}, "unsupported_value", "messages[0].content[0].type"),
    ({"messages": AUDIO}, "unsupported_value", "messages[0].content[0].type"),
]


@pytest.mark.parametrize(("change", "code", "param"), REFUSED)
def test_body_when_wrong_raises_bad_request_with_its_place(
    client: openai.OpenAI, change: dict[str, Any], code: str, param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{"model": MODEL, "messages": HELLO, **change})

    assert (refused.value.type, refused.value.code, refused.value.param) == (
        "invalid_request_error",
        code,
        param,
    )
    assert refused.value.request_id


def test_model_when_unknown_raises_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="gpt-9", messages=HELLO)

    assert (refused.value.code, refused.value.param) == ("model_not_found", None)


def test_key_when_wrong_raises_authentication_error(scripted: ScriptedStack) -> None:
    with (
        openai.OpenAI(base_url=scripted.base_url, api_key="sk-wrong") as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.models.list()

    assert (refused.value.code, refused.value.type) == ("invalid_api_key", "invalid_request_error")


@pytest.mark.parametrize("is_streamed", [False, True])
def test_provider_when_it_refuses_raises_bad_request(
    client: openai.OpenAI, is_streamed: bool
) -> None:
    asked: Any = [{"role": "user", "content": "[[status=400]]"}]

    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=asked, stream=is_streamed)

    assert refused.value.code == "provider_refused_request"


def test_address_when_unknown_raises_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.list()
