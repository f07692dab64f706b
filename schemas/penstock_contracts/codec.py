"""Strict JSON in, compact JSON out: the only place where bytes become values and back."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from penstock_contracts.errors import MalformedJson, SchemaMismatch

__all__ = ["MAX_DEPTH", "decode_json", "decode_model", "dumps", "encode_model", "first_problem"]

MAX_DEPTH = 32
"""Deepest nesting accepted. orjson decodes 500 levels that it cannot encode again."""

_CONTAINERS = frozenset({dict, list})

M = TypeVar("M", bound=BaseModel)


def decode_json(raw: bytes, *, max_bytes: int | None = None) -> Any:
    """Decode JSON as RFC 8259 has it: no NaN, no Infinity, UTF-8 only, at most `MAX_DEPTH` deep.

    Raises:
        MalformedJson: what is wrong, without quoting the content.
    """
    if max_bytes is not None and len(raw) > max_bytes:
        message = f"the body has {len(raw)} bytes, at most {max_bytes} are accepted"
        raise MalformedJson(message)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        message = f"not valid JSON at line {error.lineno}, column {error.colno}"
        raise MalformedJson(message) from None
    if _is_too_deep(value):
        message = f"the JSON is nested deeper than {MAX_DEPTH} levels"
        raise MalformedJson(message)
    return value


def decode_model(model: type[M], raw: bytes, *, max_bytes: int | None = None) -> M:
    """Decode and validate in one step.

    Raises:
        MalformedJson: no acceptable JSON.
        SchemaMismatch: JSON of another shape; `field` names the first offender.
    """
    value = decode_json(raw, max_bytes=max_bytes)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise first_problem(error) from None


def first_problem(error: ValidationError) -> SchemaMismatch:
    """The first problem of a pydantic error as one sentence.

    It quotes no input: prompts stay private.
    """
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in problem["loc"]) or None
    return SchemaMismatch(f"{field or 'the body'}: {problem['msg']}", field=field)


def encode_model(model: BaseModel) -> bytes:
    """Compact JSON without fields that are None; the inverse of `decode_model`."""
    return model.model_dump_json(exclude_none=True, by_alias=True).encode()


def dumps(value: Any) -> bytes:
    """Compact JSON of plain values."""
    return orjson.dumps(value)


def _is_too_deep(value: Any) -> bool:
    """Whether containers lie deeper than `MAX_DEPTH`; goes down level by level, no recursion."""
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _CONTAINERS
        ]
        if not level:
            return False
    return True
