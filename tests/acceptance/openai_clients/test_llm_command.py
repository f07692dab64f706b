"""The `llm` command line gets answers by `api_base` alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack
from tests.acceptance.openai_clients.conftest import Client

pytestmark = pytest.mark.timeout(400)


def _configured(folder: Path, stack: Stack) -> dict[str, str]:
    (folder / "extra-openai-models.yaml").write_text(
        "- model_id: penstock\n"
        "  model_name: smollm2-135m-instruct\n"
        f"  api_base: {stack.dev.gateway}/v1\n"
        "  api_key_name: penstock\n"
    )
    (folder / "keys.json").write_text(json.dumps({"penstock": stack.dev.api_key}))
    return {"LLM_USER_PATH": str(folder)}


@pytest.mark.parametrize("streaming", [(), ("--no-stream",)], ids=["streamed", "whole"])
def test_llm_command_when_pointed_at_the_gateway_prints_an_answer(
    client: Client, stack: Stack, tmp_path: Path, streaming: tuple[str, ...]
) -> None:
    variables = _configured(tmp_path, stack)

    said = client("llm", "-m", "penstock", *streaming, "Say hello.", **variables)

    assert said.strip()
