"""A response as a job of the task `chat`: self-contained, so that workers need not know of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from penstock_contracts.codec import dumps
from penstock_contracts.requests import TaskKind
from penstock_contracts.surface import Surface

from gateway.errors import ApiError
from gateway.openai.asking import Ask, Follow, priority_of_tier, tier_of
from gateway.openai.conversations.ports import ConversationGate
from gateway.openai.known_models import KnownModels
from gateway.openai.object_ids import RESPONSE_PREFIX
from gateway.openai.responses.body import ResponseBody
from gateway.openai.responses.items import messages_of, referenced
from gateway.openai.responses.lookup import KIND
from gateway.openai.responses.tools import chat_choice, chat_format, chat_tool
from gateway.openai.responses.turns import Turns
from gateway.openai.responses.whole_input import check_calls, check_count, check_json
from gateway.openai.running import Came
from gateway.openai.strict import read_body_as, refused

__all__ = ["ROUTE", "ResponseAsk", "ResponseAsks"]

ROUTE: Final = "/v1/responses"
_NOTHING: Final = {"role": "user", "content": ""}
"""Of a turn that only goes on: its job has to have some message."""
_MAX_ECHO_BYTES: Final = 256 * 1024
"""Travels in the request's record, and is kept with the job."""
_PASSED_ON: Final = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "top_logprobs",
    "parallel_tool_calls",
    "user",
    "safety_identifier",
    "prompt_cache_key",
)
_ECHOED: Final = (
    "background",
    "frequency_penalty",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt_cache_key",
    "safety_identifier",
    "store",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseAsk:
    """A checked request: its job, and what the answer has to know of it."""

    ask: Ask
    echo: dict[str, Any]
    is_streamed: bool
    is_background: bool


class ResponseAsks:
    """Checks bodies, and puts together what the model is to read.

    `conversations` None: this deployment keeps none, and says so.
    """

    def __init__(
        self, *, models: KnownModels, turns: Turns, conversations: ConversationGate | None
    ) -> None:
        self._models = models
        self._turns = turns
        self._conversations = conversations

    async def read(self, came: Came, *, waits: bool = False) -> ResponseAsk:
        """The job that a request stands for; `waits`: its caller stays for the end.

        Raises:
            ApiError: what is wrong with it, in OpenAI's words.
        """
        value = came.body
        body = read_body_as(ResponseBody, value)
        self._models.require_chat(body.model)
        conversation = await self._entered(came, body)
        history: list[dict[str, Any]] = []
        if body.instructions is not None:
            history.append({"role": "system", "content": body.instructions})
        if body.previous_response_id is not None:
            history += await self._turns.history(came.principal, body.previous_response_id)
        items = value.get("input", "")
        known = await self._turns.items(came.principal, referenced(items))
        turn = messages_of(items, known)
        if conversation is not None and not history:
            turn = turn or [_NOTHING]
        _check_whole(body, history, turn)
        # Turns of a conversation keep their order within one lane.
        tier = "default" if conversation else tier_of(body.service_tier)
        echo = _echo(body, value, tier)
        _check_size(echo)
        surface = Surface(
            kind=KIND, echo=echo, first_item=len(history), kept=body.store is not False
        )
        ask = Ask(
            route=ROUTE,
            prefix=RESPONSE_PREFIX,
            task=TaskKind.CHAT.value,
            input={"messages": [*history, *turn]},
            model=body.model,
            params=_params(body, value),
            priority=priority_of_tier(tier),
            conversation=conversation,
            metadata=body.metadata,
            surface=surface,
            follow=_follow(body, waits=waits),
            is_kept=True,
        )
        return ResponseAsk(
            ask=ask,
            echo=echo,
            is_streamed=bool(body.stream),
            is_background=bool(body.background),
        )

    async def _entered(self, came: Came, body: ResponseBody) -> str | None:
        if body.conversation_id is None:
            return None
        if self._conversations is None:
            raise refused("conversation", "this deployment keeps no conversations")
        return await self._conversations.enter(came.principal, body.conversation_id)


def _follow(body: ResponseBody, *, waits: bool) -> Follow:
    if body.stream:
        return Follow.WHOLE
    return Follow.NOTHING if body.background and not waits else Follow.END


def _check_whole(
    body: ResponseBody, history: list[dict[str, Any]], turn: list[dict[str, Any]]
) -> None:
    goes_on = body.conversation is not None or body.previous_response_id is not None
    if not turn and not goes_on:
        message = "Invalid 'input': nothing in it says anything to the model."
        raise ApiError("invalid_value", message, param="input")
    check_count(turn, history)
    if body.conversation is not None:
        return  # what was said before is known to its worker alone
    check_calls([*history, *turn])
    if body.asks_for_json:
        check_json([*history, *turn])


def _check_size(echo: dict[str, Any]) -> None:
    if len(dumps(echo)) > _MAX_ECHO_BYTES:
        message = (
            f"instructions, tools and text.format have together more than {_MAX_ECHO_BYTES} bytes; "
            "send long instructions as a message of the input"
        )
        raise ApiError("body_too_large", message)


def _echo(body: ResponseBody, value: dict[str, Any], tier: str) -> dict[str, Any]:
    echo = {name: value[name] for name in _ECHOED if value.get(name) is not None}
    if tier != "default":
        echo["service_tier"] = tier
    if body.conversation_id is not None:
        echo["conversation"] = {"id": body.conversation_id}
    if body.reasoning is not None:
        summary = body.reasoning.summary or body.reasoning.generate_summary
        echo["reasoning"] = {"effort": body.reasoning.effort, "summary": summary}
    text = {name: part for name, part in (value.get("text") or {}).items() if part is not None}
    if text:
        echo["text"] = {"format": {"type": "text"}, **text}
    if "tools" in echo:
        blank = {"description": None, "parameters": None, "strict": None}
        echo["tools"] = [{**blank, **tool} for tool in echo["tools"]]
    return echo


def _params(body: ResponseBody, value: dict[str, Any]) -> dict[str, Any]:
    # The caller's own values are passed on; the model has checked them.
    params = {name: value[name] for name in _PASSED_ON if value.get(name) is not None}
    if body.max_output_tokens is not None:
        params["max_tokens"] = body.max_output_tokens
    if body.top_logprobs is not None or "message.output_text.logprobs" in (body.include or ()):
        params["logprobs"] = True
    if body.tools:
        params["tools"] = [chat_tool(tool) for tool in value["tools"]]
        if body.tool_choice is not None:
            params["tool_choice"] = chat_choice(value["tool_choice"])
    else:
        params.pop("parallel_tool_calls", None)
    text = value.get("text") or {}
    if text.get("format") is not None:
        format_ = chat_format(text["format"])
        if format_ is not None:
            params["response_format"] = format_
    if text.get("verbosity") is not None:
        params["verbosity"] = text["verbosity"]
    if body.reasoning is not None and body.reasoning.effort is not None:
        params["reasoning_effort"] = body.reasoning.effort
    return params
