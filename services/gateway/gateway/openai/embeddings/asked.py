"""Embeddings as a job of the task `embed`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from penstock_contracts.requests import TaskKind
from penstock_contracts.surface import Surface
from pydantic import Field, Tag, WithJsonSchema

from gateway.errors import ApiError
from gateway.openai.asking import Ask
from gateway.openai.known_models import KnownModels
from gateway.openai.strict import Body, by_shape, read_body_as

__all__ = ["EmbeddingAsk", "EmbeddingBody", "embedding_ask", "field_of_input"]

ROUTE: Final = "/v1/embeddings"
_MAX_INPUTS: Final = 2048
_MAX_TOKENS: Final = 8192
_JOB_FIELD: Final = re.compile(r"input\.(?:texts|tokens)\.(\d+)")

_Texts = {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}
_Ids = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}
_Lists = {"type": "array", "minItems": 1, "items": _Ids}
_Input = Annotated[
    Annotated[str, Field(min_length=1), Tag("<string>")]
    | Annotated[
        list[Any],
        Field(min_length=1),
        WithJsonSchema({"anyOf": [_Texts, _Ids, _Lists]}),
        Tag("<array>"),
    ],
    by_shape("a string, array of strings, array of integers or array of integer arrays"),
]


class EmbeddingBody(Body):
    """Texts to embed, or token lists of the embedding model's own vocabulary."""

    input: _Input
    model: str = Field(min_length=1, max_length=128)
    dimensions: int | None = Field(default=None, ge=1)
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = Field(default=None, max_length=512)


@dataclass(frozen=True, slots=True)
class EmbeddingAsk:
    """A checked request: its job, and how vectors are to be written."""

    ask: Ask
    as_base64: bool


def embedding_ask(value: Any, models: KnownModels) -> EmbeddingAsk:
    """Check a decoded body and say which job it stands for.

    Raises:
        ApiError: what is wrong with it, in OpenAI's words.
    """
    body = read_body_as(EmbeddingBody, value)
    models.require_embedding(body.model)
    given = _input(body.input)
    if body.dimensions is not None:
        given["dimensions"] = body.dimensions
    ask = Ask(
        route=ROUTE,
        prefix="",
        task=TaskKind.EMBED.value,
        input=given,
        model=body.model,
        surface=Surface(kind="embedding"),
    )
    return EmbeddingAsk(ask, body.encoding_format == "base64")


def field_of_input(field: str) -> str:
    """The name that a caller knows a field of the job's input by."""
    found = _JOB_FIELD.match(field)
    return f"input[{found[1]}]" if found is not None else field.removeprefix("input.")


def _input(given: str | list[Any]) -> dict[str, Any]:
    if isinstance(given, str):
        return {"texts": [given]}
    first = given[0]
    if isinstance(first, str):
        _check_all(given, str, "a string")
        for place, text in enumerate(given):
            if not text:
                raise _wrong("empty_string", f"input[{place}]", "empty string")
        return {"texts": given}
    if isinstance(first, list):
        _check_all(given, list, "an array of integers")
        for place, ids in enumerate(given):
            _check_ids(ids, f"input[{place}]")
        return {"tokens": given}
    _check_ids(given, "input")
    return {"tokens": [given]}


def _check_all(given: list[Any], kind: type, named: str) -> None:
    if len(given) > _MAX_INPUTS:
        message = (
            f"Invalid 'input': array too long. Expected an array with maximum length "
            f"{_MAX_INPUTS}, but got an array with length {len(given)} instead."
        )
        raise ApiError("array_above_max_length", message, param="input")
    for place, one in enumerate(given):
        if not isinstance(one, kind):
            param = f"input[{place}]"
            message = f"Invalid type for '{param}': expected {named}, as the first item is one."
            raise ApiError("invalid_type", message, param=param)


def _check_ids(ids: list[Any], param: str) -> None:
    if not ids:
        raise _wrong("empty_array", param, "empty array")
    if len(ids) > _MAX_TOKENS:
        message = f"Invalid '{param}': array too long. Expected at most {_MAX_TOKENS} tokens."
        raise ApiError("array_above_max_length", message, param=param)
    for place, token in enumerate(ids):
        if type(token) is not int:
            where = f"{param}[{place}]"
            message = f"Invalid type for '{where}': expected an integer, the id of a token."
            raise ApiError("invalid_type", message, param=where)
        if token < 0:
            where = f"{param}[{place}]"
            message = f"Invalid '{where}': integer below minimum value. Expected a value >= 0."
            raise ApiError("integer_below_min_value", message, param=where)


def _wrong(code: str, param: str, what: str) -> ApiError:
    return ApiError(code, f"Invalid '{param}': {what}. Leave it out.", param=param)
