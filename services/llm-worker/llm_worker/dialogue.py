"""What was said in a conversation, and what a turn or a change makes of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from penstock_contracts.conversations import ConversationState
from penstock_contracts.item_ids import ANSWER, CONVERSATION_PREFIX, item_of, item_place
from penstock_contracts.parts import Choice
from penstock_contracts.requests import (
    ChatMessage,
    ConversationInput,
    FunctionCall,
    MessageToolCall,
)
from penstock_kit.errors import Rejected
from penstock_kit.intake import VerifiedRequest

from llm_worker.assembly import estimated_tokens
from llm_worker.pairing import paired
from llm_worker.prompts import Prompt
from llm_worker.providers_file import Model

__all__ = ["before_job", "changed_state", "messages_for", "next_state"]

_PINNED = ("system", "developer")
_OLD_RECORD = 0x4000
"""Places of messages that were written before items had names."""


class _Said(NamedTuple):
    item: str
    message: ChatMessage


def messages_for(
    prompt: Prompt, history: ConversationState | None, model: Model
) -> list[dict[str, Any]]:
    """The messages of the call: instructions first, then what was said, then what is said now.

    Instructions are what a turn begins with; all others stay where they were said. Those of this
    turn replace what earlier turns have left, unless these are items of a conversation of the
    OpenAI API. History that would not fit into the model's context is left out, oldest first.
    Results of tools are put behind their calls.
    """
    keeps_all = history is not None and history.conversation.startswith(CONVERSATION_PREFIX)
    old_pinned, said = _parted(history.messages if history else ())
    if keeps_all:
        pinned = [*prompt.messages[: prompt.first_item], *old_pinned]
        own = list(prompt.messages[prompt.first_item :])
    else:
        own_pinned, own = _parted(prompt.messages)
        pinned = own_pinned or old_pinned
    head = [_plain(message) for message in pinned]
    tail = [_plain(message) for message in own]
    past = [_plain(message) for message in said]
    if model.context_tokens is not None:
        room = model.context_tokens - estimated_tokens([*head, *tail])
        room -= int(prompt.options.get("max_tokens") or 0)
        while past and estimated_tokens(past) > room:
            past.pop(0)
    is_whole = keeps_all and len(past) == len(said)
    while past and past[0]["role"] != "user" and not is_whole:
        # A tool's or the assistant's message makes no sense without the one that it answers.
        past.pop(0)
    return paired([*head, *past, *tail])


def next_state(
    request: VerifiedRequest,
    prompt: Prompt,
    history: ConversationState | None,
    choice: Choice,
    *,
    keep: int,
    now: datetime,
) -> ConversationState:
    """The conversation after this turn: instructions, and the last `keep` other messages."""
    own = _named(request.job, prompt.messages[prompt.first_item :])
    own.append(_Said(item_place(request.job, ANSWER), _answer(choice)))
    before = _said(history)
    if (request.request.conversation or "").startswith(CONVERSATION_PREFIX):
        pinned, said = _said_parted([*before, *own])
    else:
        own_pinned, own = _said_parted(own)
        old_pinned, before = _said_parted(before)
        pinned, said = own_pinned or old_pinned, [*before, *own]
    return _state(request, history, [*pinned, *said[-keep:]], now=now)


def changed_state(
    request: VerifiedRequest,
    change: ConversationInput,
    history: ConversationState | None,
    *,
    keep: int,
    now: datetime,
) -> ConversationState:
    """The conversation after a change.

    Raises:
        Rejected: item_not_found.
    """
    if change.delete:
        state = _state(request, history, [], now=now)
        return state.model_copy(update={"is_deleted": True, "metadata": {}})
    said = _said(history)
    if change.remove is not None:
        said = _without(said, change.remove)
    said = [*said, *_named(request.job, change.add)]
    state = _state(request, history, said[-keep:], now=now)
    if change.metadata is not None:
        state = state.model_copy(update={"metadata": change.metadata})
    return state


def before_job(
    history: ConversationState | None, job: str, prompt: Prompt
) -> ConversationState | None:
    """The conversation as it was before this job's turn.

    A job that is run again after its turn was written (a crash before its end was acknowledged)
    replaces the turn: it is taken out first.
    """
    if history is None or history.job != job:
        return history
    if history.turn == 1:
        return None
    own = len(prompt.messages) - prompt.first_item
    said = _said(history)
    if history.items:
        names = {item_place(job, place) for place in (*range(own), ANSWER)}
        kept = [found for found in said if found.item not in names]
    else:
        pinned = [found for found in said if found.message.role in _PINNED]
        others = [found for found in said if found.message.role not in _PINNED]
        turn = sum(message.role not in _PINNED for message in prompt.messages) + 1
        kept = [*pinned, *others[: max(len(others) - turn, 0)]]
    update = {
        "turn": history.turn - 1,
        "messages": [found.message for found in kept],
        "items": [found.item for found in kept],
    }
    return history.model_copy(update=update)


def _state(
    request: VerifiedRequest,
    history: ConversationState | None,
    said: Sequence[_Said],
    *,
    now: datetime,
) -> ConversationState:
    assert request.request.conversation is not None
    return ConversationState(
        tenant=request.tenant,
        conversation=request.request.conversation,
        turn=history.turn + 1 if history else 1,
        job=request.job,
        messages=[found.message for found in said],
        items=[found.item for found in said],
        user=history.user if history else request.user,
        created_at=history.created_at if history else request.created_at,
        metadata=history.metadata if history else {},
        at=now,
    )


def _named(job: str, messages: Sequence[ChatMessage]) -> list[_Said]:
    return [_Said(item_place(job, place), message) for place, message in enumerate(messages)]


def _said(state: ConversationState | None) -> list[_Said]:
    if state is None:
        return []
    names = state.items or [
        item_place(state.job, _OLD_RECORD + place) for place in range(len(state.messages))
    ]
    return [_Said(*pair) for pair in zip(names, state.messages, strict=True)]


def _without(said: Sequence[_Said], item_id: str) -> list[_Said]:
    named = item_of(item_id)
    left: list[_Said] = []
    is_found = False
    for found in said:
        rest = found.message
        if named is not None and found.item == named[0]:
            remains = _part_removed(found.message, named[1])
            is_found = True
            if remains is None:
                continue
            rest = remains
        left.append(_Said(found.item, rest))
    if not is_found:
        message = f"item {item_id!r} is not in the conversation (any more)"
        raise Rejected(message, code="item_not_found", field="input.remove")
    return left


def _part_removed(message: ChatMessage, call: int | None) -> ChatMessage | None:
    """The message without its text, or without one of its tool calls; None: nothing is left."""
    calls = list(message.tool_calls or [])
    text = message.content
    if call is None:
        text = None
    elif call < len(calls):
        del calls[call]
    if not text and not calls:
        return None
    return message.model_copy(update={"content": text, "tool_calls": calls or None})


def _answer(choice: Choice) -> ChatMessage:
    calls = [
        MessageToolCall(
            id=call.id,
            function=FunctionCall(name=call.name or "unnamed", arguments=call.arguments),
        )
        for call in choice.tool_calls
    ]
    text = choice.text or choice.refusal or ""
    return ChatMessage(
        role="assistant", content=None if calls and not text else text, tool_calls=calls or None
    )


def _parted(messages: Sequence[ChatMessage]) -> tuple[list[ChatMessage], list[ChatMessage]]:
    """The instructions that it begins with, and all the rest in its order."""
    count = _instructions(messages)
    return list(messages[:count]), list(messages[count:])


def _said_parted(said: Sequence[_Said]) -> tuple[list[_Said], list[_Said]]:
    """The same of named messages."""
    count = _instructions([found.message for found in said])
    return list(said[:count]), list(said[count:])


def _instructions(messages: Sequence[ChatMessage]) -> int:
    """How many messages at the begin are instructions."""
    others = (at for at, message in enumerate(messages) if message.role not in _PINNED)
    return next(others, len(messages))


def _plain(message: ChatMessage) -> dict[str, Any]:
    return message.model_dump(exclude_none=True)
