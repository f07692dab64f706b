"""Input items of a response as callers send them, and as the messages that our workers take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from gateway.openai.strict import WRONG_SHAPE, Body, by_shape, complaint, not_here, refused_value

__all__ = ["Input", "ItemReference", "messages_of", "referenced"]

_MEDIA: Final = {
    "input_image": "models here read text only; describe the image in words",
    "input_file": "models here read text only; send the file's text",
    "input_audio": "models here read text only; send a transcript",
    "computer_screenshot": "models here read text only",
}
_OF_PROVIDER: Final = "providers behind this gateway decide themselves what they keep of a prompt"
_ALONE: Final = "a call stands for itself here; leave it out or send null"
_HOSTED: Final = (
    "providers behind this gateway know messages and function calls alone; leave the item out"
)


def _only_text(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind in _MEDIA:
        raise refused_value(f"content of type '{kind}'", _MEDIA[kind], at="type")
    return part


class TextPart(Body):
    """A piece of text; what an answer had beside it is taken and dropped."""

    type: Literal["input_text", "output_text", "refusal", "summary_text", "reasoning_text"]
    text: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None
    prompt_cache_breakpoint: Annotated[None, not_here(_OF_PROVIDER)] = None

    @model_validator(mode="after")
    def _has_its_text(self) -> Self:
        name = "refusal" if self.type == "refusal" else "text"
        if getattr(self, name) is None:
            text = f"Missing required parameter: '{name}' of a content part of that type."
            raise complaint("missing_required_parameter", text, at=name)
        return self


_Parts = Annotated[list[Annotated[TextPart, BeforeValidator(_only_text)]], Tag("<array>")]
_Content = Annotated[
    Annotated[str, Tag("<string>")] | _Parts, by_shape("a string or array of objects")
]


def _require_kinds(content: str | list[TextPart], kinds: Sequence[str], at: str) -> None:
    for place, part in enumerate(content if isinstance(content, list) else ()):
        if part.type not in kinds:
            expected = " and ".join(f"'{kind}'" for kind in kinds)
            are = "values are" if len(kinds) > 1 else "value is"
            text = f"Invalid value: '{part.type}'. Supported {are}: {expected}."
            raise complaint("invalid_value", text, at=f"{at}[{place}]")


_Status = Literal["in_progress", "completed", "incomplete"]


class MessageItem(Body):
    """What somebody said."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: _Content
    id: str | None = None
    status: _Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None

    @model_validator(mode="after")
    def _says_what_its_role_may(self) -> Self:
        kinds = ("output_text", "refusal") if self.role == "assistant" else ("input_text",)
        _require_kinds(self.content, kinds, "content")
        return self


class CallItem(Body):
    """A function that the model called."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    arguments: str
    id: str | None = None
    status: _Status | None = None
    parsed_arguments: Any = None
    async_: Annotated[None, not_here(_ALONE)] = Field(default=None, alias="async")
    caller: Annotated[None, not_here(_ALONE)] = None
    namespace: Annotated[None, not_here(_ALONE)] = None


class CallOutputItem(Body):
    """What the function gave."""

    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1)
    output: _Content
    id: str | None = None
    status: _Status | None = None
    caller: Annotated[None, not_here(_ALONE)] = None
    name: Annotated[None, not_here(_ALONE)] = None
    namespace: Annotated[None, not_here(_ALONE)] = None

    @model_validator(mode="after")
    def _is_for_the_model(self) -> Self:
        _require_kinds(self.output, ("input_text",), "output")
        return self


class ReasoningItem(Body):
    """Earlier reasoning, sent back with an answer: no provider takes it, so it goes no further."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: _Parts | None = None
    content: _Parts | None = None
    encrypted_content: str | None = None
    status: _Status | None = None


class ItemReference(Body):
    """An item that a response of ours gave."""

    type: Literal["item_reference"] | None = None
    id: str = Field(min_length=1)


_TAGS: Final = {
    "message": "<message>",
    "function_call": "<function_call>",
    "function_call_output": "<function_call_output>",
    "reasoning": "<reasoning>",
    "item_reference": "<item_reference>",
}


def _kind_of(item: Any) -> str | None:
    if not isinstance(item, dict):
        return None
    kind = item.get("type")
    if kind is None:
        return "<message>" if "role" in item or "id" not in item else "<item_reference>"
    return _TAGS.get(kind) if isinstance(kind, str) else None


def _known_kind(item: Any) -> Any:
    kind = item.get("type") if isinstance(item, dict) else None
    if isinstance(kind, str) and kind not in _TAGS:
        raise refused_value(f"an item of type '{kind[:64]}'", _HOSTED, at="type")
    return item


_Item = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[CallItem, Tag("<function_call>")]
    | Annotated[CallOutputItem, Tag("<function_call_output>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")]
    | Annotated[ItemReference, Tag("<item_reference>")],
    Discriminator(_kind_of, custom_error_type=WRONG_SHAPE, custom_error_message="an object"),
]
Input = Annotated[
    Annotated[str, Tag("<string>")]
    | Annotated[
        list[Annotated[_Item, BeforeValidator(_known_kind)]],
        Field(max_length=2048),
        Tag("<array>"),
    ],
    by_shape("a string or array of objects"),
]


def referenced(items: Any) -> list[str]:
    """Ids of the items that a checked input only names."""
    if isinstance(items, str):
        return []
    return [item["id"] for item in items if _kind_of(item) == "<item_reference>"]


def messages_of(items: Any, known: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A checked input as messages; `known` are the items that it only names, by their ids."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}] if items else []
    messages: list[dict[str, Any]] = []
    for item in items:
        is_named = _kind_of(item) == "<item_reference>"
        _append(messages, known[item["id"]] if is_named else item)
    return messages


def _append(messages: list[dict[str, Any]], item: Mapping[str, Any]) -> None:
    kind = item.get("type") or "message"
    if kind == "message":
        messages.append({"role": item["role"], "content": _content(item["content"])})
    elif kind == "function_call":
        call = {
            "id": item["call_id"],
            "type": "function",
            "function": {"name": item["name"], "arguments": item["arguments"]},
        }
        if messages and messages[-1]["role"] == "assistant":
            messages[-1].setdefault("tool_calls", []).append(call)
        else:
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    elif kind == "function_call_output":
        content = _content(item["output"])
        messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})


def _content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    texts = [str(part.get("text") or part.get("refusal") or "") for part in content]
    if len(texts) <= 1:
        return "".join(texts)
    return [{"type": "text", "text": text} for text in texts]
