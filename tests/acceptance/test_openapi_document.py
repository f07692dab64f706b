"""Generated requests against a whole stack: no server error, no undeclared answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from penstock.dev.launch import take_down
from penstock.dev.paths import StackPaths
from schemathesis import Case, HookContext
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.acceptance.conftest import Stack, start_at
from tests.support.provider_process import fake_provider

pytestmark = pytest.mark.timeout(600)
DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
SCHEMA = schemathesis.openapi.from_path(DOCUMENT).exclude(path_regex="/events$")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 25
EMBEDDING_MODEL = "all-minilm-l6-v2-int8"


@SCHEMA.hook
def map_body(context: HookContext, body: Any) -> Any:
    """Most generated names of models are unknown; with a known one the rest of the body counts."""
    if isinstance(body, dict) and isinstance(body.get("model"), str) and len(body["model"]) % 4:
        assert context.operation is not None
        embeds = "embeddings" in context.operation.path
        return {**body, "model": EMBEDDING_MODEL if embeds else "fake"}
    return body


@pytest.fixture(scope="module")
def quick_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose provider answers at once."""
    root = tmp_path_factory.mktemp("openapi")
    with fake_provider(root, script="ttft_ms=1;rate=5000;tokens=3") as provider:
        try:
            yield start_at(root / "stack", {"providers": provider.providers})
        finally:
            take_down(StackPaths(root / "stack"))


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,  # the same cases in every run: a red build is a change, never luck
    suppress_health_check=list(HealthCheck),
)
def test_api_when_fuzzed_answers_as_declared(case: Case[Any], quick_stack: Stack) -> None:
    case.call_and_validate(
        base_url=quick_stack.dev.gateway,
        headers={"authorization": f"Bearer {quick_stack.dev.api_key}"},
        timeout=30,
        checks=CHECKS,
    )
