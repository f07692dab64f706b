"""The committed schema files are what the models say, valid, and compatible with every release."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

SCHEMAS = Path(__file__).parents[2] / "schemas"
sys.path.insert(0, str(SCHEMAS))

import compatibility  # noqa: E402 - a program beside the package, not a part of it
import render  # noqa: E402 - the same


def test_committed_files_match_the_models() -> None:
    assert render.drift() == []


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("json/*.json")), ids=lambda path: path.name)
def test_schema_file_is_a_valid_schema(path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_bytes()))


def test_models_are_compatible_with_every_release() -> None:
    assert [path.name for path in compatibility.RELEASED.iterdir()]
    assert compatibility.check() == []


_OLD = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
    "required": ["a"],
}


@pytest.mark.parametrize(
    "change",
    [
        {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
        {"properties": {"a": {"type": "integer"}}},
        {"required": ["a", "b"]},
    ],
    ids=["type changed", "member removed", "member required"],
)
@pytest.mark.parametrize("is_strict", [True, False])
def test_gate_refuses_a_breaking_change(change: dict[str, object], is_strict: bool) -> None:
    assert compatibility.breaks(_OLD, {**_OLD, **change}, is_strict=is_strict)


@pytest.mark.parametrize("is_strict", [True, False])
def test_gate_allows_a_new_optional_member(is_strict: bool) -> None:
    grown = {**_OLD, "properties": {**_OLD["properties"], "c": {"type": "number"}}}  # type: ignore[dict-item]

    assert compatibility.breaks(_OLD, grown, is_strict=is_strict) == []


def test_asyncapi_document_passes_the_reference_parser(asyncapi_parser: Path) -> None:
    checked = subprocess.run(
        ["node", str(asyncapi_parser), str(SCHEMAS / "asyncapi.yaml")],  # noqa: S607 - node of the PATH
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
