"""JSON Schemas that callers send: what OpenAI requires of them before a model sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.openai.strict import complaint

__all__ = ["check_parameters", "check_strict"]

_MAX_QUOTED_CHARS: Final = 64
_Context = tuple[str, ...]


def check_parameters(name: str, schema: Mapping[str, Any] | None, *, is_strict: bool) -> None:
    """The parameters of a function are an object; in strict mode, one without loose ends.

    Raises:
        PydanticCustomError: invalid_function_parameters, for validators of the function.
    """
    fault = _fault(schema, is_strict=is_strict) if schema else None
    if fault is not None:
        text = f"Invalid schema for function '{name}': {fault}"
        raise complaint("invalid_function_parameters", text, at="parameters")


def check_strict(name: str, schema: Mapping[str, Any], *, code: str, at: str) -> None:
    """The schema of an answer is one that strict mode takes.

    Raises:
        PydanticCustomError: `code` at the field `at`, for validators of the format.
    """
    fault = _fault(schema, is_strict=True)
    if fault is not None:
        raise complaint(code, f"Invalid schema for response_format '{name}': {fault}", at=at)


def _fault(schema: Mapping[str, Any], *, is_strict: bool) -> str | None:
    kind = schema.get("type")
    if kind != "object":
        shown = kind[:_MAX_QUOTED_CHARS] if isinstance(kind, str) else "None"
        return f"""schema must be a JSON Schema of 'type: "object"', got 'type: "{shown}"'."""
    if not is_strict:
        return None
    faults = (_loose(part, context) for context, part in _parts(schema))
    return next(filter(None, faults), None)


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[_Context, Mapping[str, Any]]]:
    """The schema and all schemas inside of it, outer before inner."""
    waiting: list[tuple[_Context, Any]] = [((), schema)]
    for context, part in waiting:
        if not isinstance(part, dict):
            continue
        yield context, part
        waiting += [((*context, "items"), part.get("items"))]
        for name in ("properties", "$defs", "definitions"):
            inner = part.get(name)
            if isinstance(inner, dict):
                waiting += [((*context, name, key), value) for key, value in inner.items()]
        choices = part.get("anyOf")
        if isinstance(choices, list):
            waiting += [((*context, "anyOf", str(at)), one) for at, one in enumerate(choices)]


def _loose(part: Mapping[str, Any], context: _Context) -> str | None:
    kind, properties = part.get("type"), part.get("properties")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        return None
    where = f"In context=({', '.join(repr(step[:_MAX_QUOTED_CHARS]) for step in context)})"
    if part.get("additionalProperties") is not False:
        return f"{where}, 'additionalProperties' is required to be supplied and to be false."
    if not isinstance(properties, dict | None):
        return f"{where}, 'properties' is required to be an object."
    required = part.get("required")
    named = {key for key in required if isinstance(key, str)} if isinstance(required, list) else ()
    missing = next((key for key in properties or () if key not in named), None)
    if missing is None:
        return None
    return (
        f"{where}, 'required' is required to be supplied and to be an array including every key in "
        f"properties. Missing '{missing[:_MAX_QUOTED_CHARS]}'."
    )
