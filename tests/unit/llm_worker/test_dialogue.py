"""What a turn's call is made of, and what the conversation keeps of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from llm_worker.dialogue import messages_for, next_state
from llm_worker.prompts import Prompt
from llm_worker.providers_file import Model
from penstock_contracts.conversations import ConversationState
from penstock_contracts.parts import Choice
from penstock_contracts.requests import ChatMessage, FunctionCall, MessageToolCall
from penstock_kit.intake import VerifiedRequest

from tests.support.job_records import T0, job_id, request_record, verified

OF_OPENAI = "conv_" + "0" * 42
MODEL = Model(provider="p")
ROLES = {"s": "system", "d": "developer", "u": "user", "a": "assistant"}


def said(text: str) -> list[ChatMessage]:
    """Messages by the first letters of their roles: `s1 u1`."""
    return [ChatMessage(role=ROLES[word[0]], content=word) for word in text.split()]


def prompt(text: str, *, first_item: int = 0) -> Prompt:
    return Prompt(
        messages=tuple(said(text)), options={}, chain=(), generate=None, first_item=first_item
    )


def turn(conversation: str) -> VerifiedRequest:
    return verified(request_record(job_id(1), conversation=conversation))


def after(
    text: str,
    *,
    conversation: str,
    history: ConversationState | None = None,
    keep: int = 9,
    first_item: int = 0,
) -> ConversationState:
    """The conversation once this turn was answered with `a`."""
    return next_state(
        turn(conversation), prompt(text, first_item=first_item), history,
        Choice(index=0, text="a", finish_reason="stop"), keep=keep, now=T0,
    )  # fmt: skip


def held(state: ConversationState) -> str:
    return " ".join(str(message.content) for message in state.messages)


def texts(messages: list[dict[str, object]]) -> str:
    return " ".join(str(message["content"]) for message in messages)


@pytest.mark.parametrize("asked", ["s1 u1 a1 s2 u2", "u1 a1 d1 u2", "u1 s1", "s1 d1 u1 s2"])
def test_messages_without_history_are_sent_in_the_order_given(asked: str) -> None:
    assert texts(messages_for(prompt(asked), None, MODEL)) == asked


def test_instructions_that_begin_a_turn_replace_earlier_ones_and_others_stay_in_place() -> None:
    history = after("s1 u1", conversation="c1")

    kept = after("u2 s2 u3", conversation="c1", history=history)
    replaced = after("s9 u4", conversation="c1", history=kept)

    assert texts(messages_for(prompt("u2 s2 u3"), history, MODEL)) == "s1 u1 a u2 s2 u3"
    assert held(kept) == "s1 u1 a u2 s2 u3 a"
    assert held(replaced) == "s9 u1 a u2 s2 u3 a u4 a"


def test_conversation_of_openai_keeps_all_items_in_their_order() -> None:
    history = after("s0 d1 u1", conversation=OF_OPENAI, first_item=1)

    kept = after("s0 d2 u2", conversation=OF_OPENAI, history=history, first_item=1)

    asked = prompt("s0 d2 u2", first_item=1)
    assert texts(messages_for(asked, history, MODEL)) == "s0 d1 u1 a d2 u2"
    assert held(kept) == "d1 u1 a d2 u2 a"


def test_conversation_of_openai_over_its_length_keeps_what_it_begins_with() -> None:
    history = after("d1 u1", conversation=OF_OPENAI)

    kept = after("d2 u2", conversation=OF_OPENAI, history=history, keep=3)

    assert held(kept) == "d1 d2 u2 a"


def test_result_of_a_call_of_the_history_is_sent_behind_its_call() -> None:
    call = MessageToolCall(id="x", function=FunctionCall(name="f", arguments="{}"))
    called = ChatMessage(role="assistant", tool_calls=[call])
    history = after("u1", conversation=OF_OPENAI).model_copy(
        update={"messages": [*said("u1"), called]}
    )
    asked = replace(
        prompt("u2"),
        messages=(*said("u2"), ChatMessage(role="tool", tool_call_id="x", content="t")),
    )

    sent = messages_for(asked, history, MODEL)

    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "user"]
