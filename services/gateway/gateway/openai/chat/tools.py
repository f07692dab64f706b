"""Tools, their choice and the format of the answer: checked here, passed on as they came."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, Tag, model_validator

from gateway.openai.schemas import check_parameters, check_strict
from gateway.openai.strict import Body, by_shape, complaint, refused_value

__all__ = ["AnyFormat", "NamedChoice", "Tool", "ToolChoice"]

_Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]


def _only_functions(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") in ("custom", "allowed_tools"):
        reason = "providers behind this gateway take functions alone; declare a function"
        raise refused_value(f"type '{value['type']}'", reason, at="type")
    return value


class Function(Body):
    """A function that the model may call; its schema is passed on as it came."""

    name: _Word
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _has_a_schema(self) -> Self:
        check_parameters(self.name, self.parameters, is_strict=bool(self.strict))
        return self


class FunctionTool(Body):
    """A tool."""

    type: Literal["function"]
    function: Function


Tool = Annotated[FunctionTool, BeforeValidator(_only_functions)]


class ChosenFunction(Body):
    """The function that must be called."""

    name: _Word


class NamedChoice(Body):
    """A choice of one function."""

    type: Literal["function"]
    function: ChosenFunction


_Named = Annotated[NamedChoice, BeforeValidator(_only_functions)]
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<string>")]
    | Annotated[_Named, Tag("<object>")],
    by_shape("a string or object"),
]


class JsonSchemaFormat(Body):
    """A JSON Schema that the answer has to satisfy."""

    name: _Word
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """How the answer is to be formed."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


def _is_whole(asked: ResponseFormat) -> ResponseFormat:
    given = asked.json_schema
    if asked.type == "json_schema" and given is None:
        text = "Missing required parameter: 'response_format.json_schema'."
        raise complaint("missing_required_parameter", text, at="json_schema")
    if asked.type != "json_schema" and given is not None:
        text = "Unknown parameter: 'response_format.json_schema'."
        raise complaint("unknown_parameter", text, at="json_schema")
    if given is not None and given.strict and given.schema_ is not None:
        check_strict(given.name, given.schema_, code="invalid_combination", at="")
    return asked


AnyFormat = Annotated[ResponseFormat, AfterValidator(_is_whole)]
