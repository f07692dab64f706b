"""What strict mode takes of a JSON Schema, in the words that OpenAI uses."""

from __future__ import annotations

from typing import Any

import pytest
from gateway.openai.schemas import check_parameters, check_strict
from pydantic_core import PydanticCustomError


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
OPEN = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
PARTIAL = {**closed(a=TEXT, b=TEXT), "required": ["a"]}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (OPEN, "In context=(), 'additionalProperties' is required"),
        (closed(a=OPEN), "In context=('properties', 'a'), 'additionalProperties'"),
        (closed(a={"type": "array", "items": OPEN}), "('properties', 'a', 'items')"),
        (closed(a={"anyOf": [TEXT, OPEN]}), "('properties', 'a', 'anyOf', '1')"),
        ({**closed(), "$defs": {"x": OPEN}}, "In context=('$defs', 'x')"),
        (closed(a={**OPEN, "type": ["object", "null"]}), "In context=('properties', 'a')"),
        (PARTIAL, "including every key in properties. Missing 'b'."),
        ({"type": "array", "items": TEXT}, """'type: "object"', got 'type: "array"'."""),
        ({"properties": {}}, """got 'type: "None"'."""),
        ({"type": ["object"]}, """got 'type: "None"'."""),
        ({**closed(), "properties": 7}, "'properties' is required to be an object"),
        ({**closed(), "properties": ["a"]}, "'properties' is required to be an object"),
        ({**closed(a=TEXT), "required": 5}, "Missing 'a'."),
        ({**closed(a=TEXT), "required": [["a"]]}, "Missing 'a'."),
    ],
)
def test_schema_with_loose_ends_is_refused_where_strict(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(PydanticCustomError) as refused:
        check_strict("x", schema, code="invalid_json_schema", at="schema")

    assert refused.value.type == "invalid_json_schema"
    assert str(refused.value).startswith("Invalid schema for response_format 'x': ")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "schema",
    [closed(), closed(a=TEXT, b=closed(c=TEXT)), closed(a={"$ref": "#"}), closed(type=TEXT)],
)
def test_schema_without_loose_ends_is_taken(schema: dict[str, Any]) -> None:
    check_strict("x", schema, code="invalid_json_schema", at="schema")
    check_parameters("f", schema, is_strict=True)


def test_schema_of_many_properties_is_read_in_one_pass() -> None:
    """Else a body of a megabyte holds the loop for half a minute."""
    names = [f"p{number}" for number in range(60_000)]
    schema = {**closed(**dict.fromkeys(names, TEXT)), "required": names[::-1]}

    check_strict("x", schema, code="invalid_json_schema", at="schema")


def test_parameters_that_are_not_strict_need_only_be_an_object() -> None:
    check_parameters("f", OPEN, is_strict=False)
    check_parameters("f", {}, is_strict=True)
    check_parameters("f", None, is_strict=True)
    with pytest.raises(PydanticCustomError, match="Invalid schema for function 'f'"):
        check_parameters("f", TEXT, is_strict=False)
