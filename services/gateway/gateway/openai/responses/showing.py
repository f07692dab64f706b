"""One step of the output as the payload of its event."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from gateway.openai.responses.objects import item_object, part_object
from gateway.openai.responses.steps import Part, Step

__all__ = ["payload_of"]

_EVENTS: Final = {
    "output_text": "response.output_text",
    "refusal": "response.refusal",
    "reasoning_text": "response.reasoning_text",
    "arguments": "response.function_call_arguments",
}


def payload_of(step: Step, *, item_id: str, output_index: int) -> dict[str, Any]:
    """The payload; `item_id` and `output_index` are what the reader knows the item by."""
    if step.kind in ("item_added", "item_done"):
        return _about_item(step, item_id, output_index)
    part = step.item.parts[step.part]
    place: dict[str, Any] = {
        "sequence_number": step.number,
        "item_id": item_id,
        "output_index": output_index,
    }
    if part.type != "arguments":
        place["content_index"] = step.part
    if step.kind == "delta":
        return _delta(step, part, place)
    if step.kind == "text_done":
        return _text_done(step, part, place)
    is_new = step.kind == "part_added"
    kind = "response.content_part.added" if is_new else "response.content_part.done"
    return {"type": kind, **place, "part": part_object(Part(part.type) if is_new else part)}


def _about_item(step: Step, item_id: str, output_index: int) -> dict[str, Any]:
    item = step.item
    if step.kind == "item_added":
        item = replace(item, parts=[], status="in_progress")
    return {
        "type": "response.output_item.added"
        if step.kind == "item_added"
        else "response.output_item.done",
        "sequence_number": step.number,
        "output_index": output_index,
        "item": item_object(item, item_id),
    }


def _delta(step: Step, part: Part, place: dict[str, Any]) -> dict[str, Any]:
    payload = {"type": f"{_EVENTS[part.type]}.delta", **place, "delta": step.text}
    if part.type == "output_text":
        payload["logprobs"] = list(step.logprobs)
    return payload


def _text_done(step: Step, part: Part, place: dict[str, Any]) -> dict[str, Any]:
    payload: dict[str, Any] = {"type": f"{_EVENTS[part.type]}.done", **place}
    if part.type == "arguments":
        return {**payload, "name": step.item.name, "arguments": part.text}
    if part.type == "refusal":
        return {**payload, "refusal": part.text}
    payload["text"] = part.text
    if part.type == "output_text":
        payload["logprobs"] = list(part.logprobs)
    return payload
