"""Messages of a chat as OpenAI clients send them, and as our workers take them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, Tag, model_validator

from gateway.openai.strict import Body, by_shape, complaint, not_here, refused_value

__all__ = ["Message", "plain_messages", "says_json"]

_SIMPLE: Final = frozenset({"role", "content", "name", "tool_call_id"})
_OURS: Final = _SIMPLE | {"tool_calls"}
_OF_PROVIDER: Final = "providers behind this gateway decide themselves what they keep of a prompt"
_MEDIA: Final = {
    "image_url": "models here read text only; describe the image in words",
    "input_audio": "models here read text only; send a transcript",
    "file": "models here read text only; send the file's text",
}


def _only_text(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind in _MEDIA:
        raise refused_value(f"content of type '{kind}'", _MEDIA[kind], at="type")
    return part


class TextPart(Body):
    """A piece of text; a refusal of the assistant counts as what it said."""

    type: Literal["text", "refusal"]
    text: str | None = None
    refusal: str | None = None
    prompt_cache_breakpoint: Annotated[None, not_here(_OF_PROVIDER)] = None

    @model_validator(mode="after")
    def _has_its_text(self) -> Self:
        if getattr(self, self.type) is None:
            text = f"Missing required parameter: '{self.type}' of a content part of that type."
            raise complaint("missing_required_parameter", text, at=self.type)
        return self


class FunctionOfCall(Body):
    """What the assistant called; `parsed_arguments` is what OpenAI's client adds of its own."""

    name: str = Field(min_length=1)
    arguments: str
    parsed_arguments: Any = None


class CallOfMessage(Body):
    """A call that the assistant made earlier."""

    id: str = Field(min_length=1)
    type: Literal["function"]
    function: FunctionOfCall


_Parts = Annotated[
    list[Annotated[TextPart, BeforeValidator(_only_text)]], Field(min_length=1), Tag("<array>")
]
_Content = Annotated[
    Annotated[str, Tag("<string>")] | _Parts, by_shape("a string or array of objects")
]


class Message(Body):
    """One message. Members that answers have and requests need not are taken as null or dropped."""

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: _Content | None = None
    name: str | None = Field(default=None, max_length=64)
    tool_call_id: str | None = Field(default=None, min_length=1)
    tool_calls: list[CallOfMessage] | None = Field(default=None, min_length=1, max_length=128)
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: Annotated[None, not_here("models here read text only; send a transcript")] = None
    function_call: Annotated[None, not_here("it is deprecated; use tool_calls")] = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    parsed: Any = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.role == "tool" and self.tool_call_id is None:
            text = "Missing required parameter: 'tool_call_id' of a message with role 'tool'."
            raise complaint("missing_required_parameter", text, at="tool_call_id")
        may_be_silent = self.role == "assistant" and (self.tool_calls or self.refusal)
        if self.content is None and not may_be_silent:
            text = "Invalid value for 'content': expected a string, got null."
            raise complaint("invalid_type", text, at="content")
        return self


def plain_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages as `ChatInput` takes them; most are passed on as they came."""
    return [
        message
        if message.keys() <= _SIMPLE and isinstance(message.get("content"), str)
        else _plain(message)
        for message in messages
    ]


def says_json(messages: Iterable[Message]) -> bool:
    """Whether any of them names the format; models write spaces for ever if none does."""
    return any("json" in text.lower() for message in messages for text in _texts(message))


def _texts(message: Message) -> Iterator[str]:
    if isinstance(message.content, str):
        yield message.content
    elif message.content is not None:
        yield from (part.text or part.refusal or "" for part in message.content)


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in message.items() if name in _OURS and value is not None}
    content = plain.get("content")
    if isinstance(content, list):
        plain["content"] = [{"type": "text", "text": _text_of(part)} for part in content]
    elif content is None and not plain.get("tool_calls"):
        plain["content"] = message.get("refusal") or ""
    if plain.get("tool_calls"):
        plain["tool_calls"] = [_plain_call(call) for call in plain["tool_calls"]]
    return plain


def _plain_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    asked = {"name": function["name"], "arguments": function["arguments"]}
    return {"id": call["id"], "type": call["type"], "function": asked}


def _text_of(part: Mapping[str, Any]) -> str:
    return str(part.get("text") or part.get("refusal") or "")
