"""Response objects and their output items, as OpenAI shapes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from penstock_contracts.item_ids import ANSWER, call_item_id, item_place, message_item_id

from gateway.openai.object_ids import RESPONSE_PREFIX, object_id
from gateway.openai.responses.steps import AttemptSteps, Item, Part

__all__ = [
    "Outcome",
    "ResponseFacts",
    "incomplete_reason",
    "item_id",
    "item_object",
    "output_of_choice",
    "part_object",
    "response_object",
    "usage_object",
]

_DEFAULTS: Final[Mapping[str, Any]] = {
    "background": False,
    "conversation": None,
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response tells of a request that did not say otherwise."""

_REASONS: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ERROR_CODES: Final = {
    "rate_limit_error": "rate_limit_exceeded",
    "invalid_request_error": "invalid_prompt",
}
_NO_RESULT: Final = {
    "expired": "the response was not begun before its deadline; nothing was charged",
    "unknown_outcome": "nobody knows how the call to the model ended; send the request again",
}

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFacts:
    """What is known of a response from its request on.

    Attributes:
        echo: what it gives back of its request; the defaults are left out.
    """

    job: str
    created_at: int
    echo: Mapping[str, Any]

    @property
    def object_id(self) -> str:
        """The response's id."""
        return object_id(RESPONSE_PREFIX, self.job)

    @property
    def is_background(self) -> bool:
        """Whether it was asked for without waiting."""
        return bool(self.echo.get("background"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a response ended: the members of its object that only the end knows."""

    status: Status
    output: Sequence[Mapping[str, Any]] = ()
    usage: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    reason: str | None = None
    model: str | None = None
    completed_at: int | None = None


def response_object(facts: ResponseFacts, outcome: Outcome) -> dict[str, Any]:
    """A response."""
    failed = outcome.status == "failed"
    return {
        "id": facts.object_id,
        "object": "response",
        "created_at": facts.created_at,
        "status": outcome.status,
        "completed_at": outcome.completed_at,
        "error": _error_object(outcome.error) if failed else None,
        "incomplete_details": None if outcome.reason is None else {"reason": outcome.reason},
        "output": list(outcome.output),
        "usage": usage_object(outcome.usage),
        **_DEFAULTS,
        **facts.echo,
        "model": outcome.model or facts.echo.get("model") or "",
    }


def incomplete_reason(finish_reason: str | None) -> str | None:
    """Why a response is incomplete; None: it is complete."""
    return _REASONS.get(finish_reason or "")


def output_of_choice(job: str, choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The output items of a result."""
    steps = AttemptSteps(0)
    for _ in steps.complete(choice):
        pass
    return [item_object(item, item_id(job, item)) for item in steps.items]


def item_id(job: str, item: Item, *, generation: int = 0) -> str:
    """The id of an output item; answers that were begun anew have higher generations."""
    place = item_place(job, ANSWER + generation * 16 + item.same_before)
    if item.kind == "function_call":
        return call_item_id(place, item.call)
    return message_item_id(place) if item.kind == "message" else f"rs_{place}"


def item_object(item: Item, id_: str) -> dict[str, Any]:
    """An output item as it stands."""
    if item.kind == "function_call":
        return {
            "id": id_,
            "type": "function_call",
            "status": item.status,
            "call_id": item.call_id,
            "name": item.name,
            "arguments": item.parts[0].text if item.parts else "",
        }
    content = [part_object(part) for part in item.parts]
    if item.kind == "reasoning":
        head = {"id": id_, "type": "reasoning", "status": item.status}
        return {**head, "summary": [], "content": content}
    head = {"id": id_, "type": "message", "status": item.status, "role": "assistant"}
    return {**head, "content": content}


def part_object(part: Part) -> dict[str, Any]:
    """A part of an item's content as it stands."""
    if part.type == "output_text":
        return {
            "type": "output_text",
            "text": part.text,
            "annotations": [],
            "logprobs": list(part.logprobs),
        }
    if part.type == "refusal":
        return {"type": "refusal", "refusal": part.text}
    return {"type": "reasoning_text", "text": part.text}


def usage_object(usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Tokens as a response tells them; None where they are not known."""
    told = usage or {}
    input_tokens, output_tokens = told.get("input_tokens"), told.get("output_tokens")
    if input_tokens is None or output_tokens is None:
        return None
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {
            "cached_tokens": told.get("cached_input_tokens") or 0,
            "cache_write_tokens": 0,
        },
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": told.get("reasoning_tokens") or 0},
        "total_tokens": input_tokens + output_tokens,
    }


def _error_object(error: Mapping[str, Any] | None) -> dict[str, Any]:
    told = error or {}
    code = _ERROR_CODES.get(str(told.get("type")), "server_error")
    message = told.get("message") or _NO_RESULT.get(str(told.get("status")))
    return {"code": code, "message": message or "the response ended without a result"}
