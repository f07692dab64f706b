"""A chat completion as a job of the task `chat`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from penstock_contracts.requests import TaskKind
from penstock_contracts.surface import Surface

from gateway.openai.asking import Ask, Follow, priority_of_tier, tier_of
from gateway.openai.chat.body import ChatBody
from gateway.openai.chat.messages import plain_messages
from gateway.openai.known_models import KnownModels
from gateway.openai.object_ids import CHAT_PREFIX
from gateway.openai.strict import read_body_as

__all__ = ["ROUTE", "ChatAsk", "ChatStyle", "chat_ask"]

ROUTE: Final = "/v1/chat/completions"

_PASSED_ON: Final = (
    "temperature",
    "top_p",
    "stop",
    "seed",
    "n",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "logit_bias",
    "reasoning_effort",
    "verbosity",
    "user",
    "safety_identifier",
    "prompt_cache_key",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatStyle:
    """How the answer is to look.

    Attributes:
        tier: the service tier that the object tells.
        metadata: given back with a stored completion; None where nothing is stored.
    """

    is_streamed: bool
    with_usage: bool
    tier: str
    metadata: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ChatAsk:
    """A checked request: its job, and the looks of its answer."""

    ask: Ask
    style: ChatStyle


def chat_ask(value: Any, models: KnownModels) -> ChatAsk:
    """Check a decoded body and say which job it stands for.

    Raises:
        ApiError: what is wrong with it, in OpenAI's words.
    """
    body = read_body_as(ChatBody, value)
    models.require_chat(body.model)
    options = body.stream_options
    tier = tier_of(body.service_tier)
    style = ChatStyle(
        is_streamed=bool(body.stream),
        with_usage=options is not None and bool(options.include_usage),
        tier=tier,
        metadata=(body.metadata or {}) if body.store else None,
    )
    ask = Ask(
        route=ROUTE,
        prefix=CHAT_PREFIX,
        task=TaskKind.CHAT.value,
        input={"messages": plain_messages(value["messages"])},
        model=body.model,
        params=_params(body, value),
        priority=priority_of_tier(tier),
        metadata=body.metadata,
        surface=Surface(kind="chat.completion", echo={"service_tier": tier}, kept=bool(body.store)),
        follow=Follow.EVENTS if body.stream else Follow.END,
        is_kept=bool(body.store),
    )
    return ChatAsk(ask, style)


def _params(body: ChatBody, value: dict[str, Any]) -> dict[str, Any]:
    # The caller's own values are passed on; the model has checked them.
    params = {name: value[name] for name in _PASSED_ON if value.get(name) is not None}
    limit = body.max_completion_tokens or body.max_tokens
    if limit is not None:
        params["max_tokens"] = limit
    return params
