"""Tools, their choice and the format of the text: checked here, passed on as chats know them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, Tag, model_validator

from gateway.openai.schemas import check_parameters, check_strict
from gateway.openai.strict import Body, by_shape, complaint, not_here, refused_value

__all__ = ["Text", "Tool", "ToolChoice", "chat_choice", "chat_format", "chat_tool"]

_Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]
_HOSTED: Final = "tools that the provider runs do not exist here; declare a function"


def _only_functions(value: Any) -> Any:
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind != "function":
        raise refused_value(f"a tool of type '{kind[:64]}'", _HOSTED, at="type")
    return value


class FunctionTool(Body):
    """A function that the model may call; its schema is passed on as it came."""

    type: Literal["function"]
    name: _Word
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    allowed_callers: Annotated[None, not_here(_HOSTED)] = None
    defer_loading: Annotated[None, not_here("all tools are shown to the model at once")] = None
    output_schema: Annotated[None, not_here("what a function gives is passed on unread")] = None

    @model_validator(mode="after")
    def _has_a_schema(self) -> Self:
        check_parameters(self.name, self.parameters, is_strict=bool(self.strict))
        return self


class NamedChoice(Body):
    """A choice of one function."""

    type: Literal["function"]
    name: _Word


Tool = Annotated[FunctionTool, BeforeValidator(_only_functions)]
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<string>")]
    | Annotated[Annotated[NamedChoice, BeforeValidator(_only_functions)], Tag("<object>")],
    by_shape("a string or object"),
]


class Format(Body):
    """How the text is to be formed."""

    type: Literal["text", "json_object", "json_schema"]
    name: _Word | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.type == "json_schema":
            for name, value in (("name", self.name), ("schema", self.schema_)):
                if value is None:
                    text = f"Missing required parameter: 'text.format.{name}'."
                    raise complaint("missing_required_parameter", text, at=name)
            self._check_strict()
            return self
        for name in ("name", "description", "schema", "strict"):
            if getattr(self, "schema_" if name == "schema" else name) is not None:
                text = f"Unknown parameter: 'text.format.{name}'."
                raise complaint("unknown_parameter", text, at=name)
        return self

    def _check_strict(self) -> None:
        if self.strict:
            assert self.name is not None
            assert self.schema_ is not None
            check_strict(self.name, self.schema_, code="invalid_json_schema", at="schema")


class Text(Body):
    """What the text is to be like."""

    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


def chat_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A checked tool in the shape of chat completions."""
    function = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return {"type": "function", "function": function}


def chat_choice(choice: Any) -> Any:
    """A checked choice in the shape of chat completions."""
    if isinstance(choice, str):
        return choice
    return {"type": "function", "function": {"name": choice["name"]}}


def chat_format(format_: Mapping[str, Any]) -> dict[str, Any] | None:
    """A checked format in the shape of chat completions; None for plain text."""
    if format_["type"] == "text":
        return None
    if format_["type"] == "json_object":
        return {"type": "json_object"}
    schema = {
        name: value for name, value in format_.items() if name != "type" and value is not None
    }
    return {"type": "json_schema", "json_schema": schema}
