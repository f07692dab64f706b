"""A finished chat as the object that OpenAI clients read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.openai.chat.asked import ChatStyle

__all__ = ["chat_object", "usage_object"]


def chat_object(
    output: Mapping[str, Any],
    *,
    object_id: str,
    created: int,
    model: str | None,
    usage: Mapping[str, Any] | None,
    style: ChatStyle,
) -> dict[str, Any]:
    """A `chat.completion`."""
    value: dict[str, Any] = {
        "id": object_id,
        "object": "chat.completion",
        "created": created,
        "model": model or "",
        "choices": [_choice(choice) for choice in output["choices"]],
        "usage": usage_object(usage),
        "service_tier": style.tier,
        "system_fingerprint": None,
    }
    if style.metadata is not None:
        value["metadata"] = style.metadata
    return value


def usage_object(usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Tokens of all attempts together: what was charged. None where nobody counted."""
    if usage is None or usage.get("input_tokens") is None or usage.get("output_tokens") is None:
        return None
    prompt, completion = usage["input_tokens"], usage["output_tokens"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": usage.get("cached_input_tokens") or 0,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.get("reasoning_tokens") or 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    calls = choice.get("tool_calls") or []
    text, refusal = choice.get("text") or "", choice.get("refusal")
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if not text and (calls or refusal) else text,
        "refusal": refusal,
        "annotations": [],
    }
    if choice.get("reasoning"):
        message["reasoning_content"] = choice["reasoning"]
    if calls:
        message["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in calls
        ]
    logprobs = choice.get("logprobs")
    return {
        "index": choice["index"],
        "message": message,
        "logprobs": None if logprobs is None else {"content": logprobs, "refusal": None},
        "finish_reason": choice["finish_reason"],
    }
