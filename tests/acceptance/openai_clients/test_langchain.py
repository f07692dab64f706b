"""LangChain gets answers by `base_url` alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.openai_clients.conftest import Client

pytestmark = pytest.mark.timeout(400)
PROGRAM = Path(__file__).with_name("langchain_program.py")


def test_langchain_when_pointed_at_the_gateway_chats_streams_and_embeds(client: Client) -> None:
    said = json.loads(
        client("python", str(PROGRAM), "smollm2-135m-instruct", "all-minilm-l6-v2-int8")
    )

    assert said["whole"]
    assert said["usage"]["output_tokens"] > 0
    assert said["streamed"] == said["whole"]
    assert said["pieces"] > 1
    assert said["over_responses"]
    cat, kitten, exchange = said["vectors"]
    assert _dot(cat, kitten) > _dot(cat, exchange)


def _dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))
