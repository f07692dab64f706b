"""Turns and changes of one conversation, on a whole worker over in-memory Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock_contracts.item_ids import ANSWER, item_place, message_item_id

from tests.support.llm_worker_rig import Rig, eventually, llm_rig

CONVERSATION = "conv_" + "0" * 42


async def change(rig: Rig, **what: Any) -> str:
    """Submit a change."""
    return await rig.submit(
        task="conversation", conversation=CONVERSATION, key=CONVERSATION, input=what
    )


async def turn(rig: Rig, text: str, **more: Any) -> str:
    """Submit a turn as `/v1/responses` does: an instruction, then the one new message."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    surface = {"kind": "response", "first_item": 1}
    return await rig.submit(
        conversation=CONVERSATION,
        key=CONVERSATION,
        input={"messages": messages},
        surface=surface,
        **more,
    )


def held(rig: Rig) -> list[tuple[str, str | None]]:
    """Role and text of what the conversation holds."""
    state = rig.conversations.states["acme", CONVERSATION]
    assert len(state.items) == len(state.messages)
    return [(message.role, str(message.content)) for message in state.messages]


async def test_changes_and_turns_when_sent_at_once_run_in_the_order_of_the_log(
    tmp_path: Path,
) -> None:
    async with llm_rig(tmp_path) as rig:
        await change(rig, add=[{"role": "user", "content": "one"}], metadata={"topic": "numbers"})
        job = await turn(rig, "two")
        last = await change(rig, add=[{"role": "developer", "content": "three"}])
        events = await rig.ended(last)

    answer = rig.completions(job)[0]["output"]["choices"][0]["text"]
    assert held(rig) == [
        ("user", "one"),
        ("user", "two"),
        ("assistant", answer),
        ("developer", "three"),
    ]
    state = rig.conversations.states["acme", CONVERSATION]
    assert (state.turn, state.metadata, state.user) == (3, {"topic": "numbers"}, None)
    assert state.items[2] == item_place(job, ANSWER)
    assert events[-1]["output"] == {"kind": "chat", "choices": []}
    assert rig.completions(job)[0]["usage"]["input_tokens"] >= 3, "the turn had what was said"


async def test_instructions_of_a_turn_are_not_kept_and_items_can_be_removed(
    tmp_path: Path,
) -> None:
    async with llm_rig(tmp_path) as rig:
        job = await turn(rig, "hello")
        await rig.ended(job)
        gone = message_item_id(item_place(job, 0))
        await rig.ended(await change(rig, remove=gone))
        again = await rig.ended(await change(rig, remove=gone))

    assert [role for role, _ in held(rig)] == ["assistant"]
    assert again[-1]["type"] == "failed"
    assert again[-1]["error"]["code"] == "item_not_found"


async def test_change_when_delivered_again_is_made_once(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        job = await change(rig, add=[{"role": "user", "content": "one"}])
        await rig.ended(job)
        await eventually(lambda: job in rig.ledger.ended)
        del rig.ledger.ended[job]
        await rig.resend(rig.kafka.records("ai.chat.requests.v1")[0])
        await eventually(lambda: len(rig.completions(job)) == 2)

    assert held(rig) == [("user", "one")]
    assert rig.conversations.states["acme", CONVERSATION].turn == 1


async def test_turn_of_a_deleted_conversation_fails_without_a_call(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        await change(rig, add=[{"role": "user", "content": "secret"}], metadata={"a": "b"})
        await change(rig, delete=True)
        events = await rig.ended(await turn(rig, "still there?"))
        calls = len(rig.server.journal.lines)
        more = await rig.ended(await change(rig, metadata={"c": "d"}))

    state = rig.conversations.states["acme", CONVERSATION]
    assert (state.messages, state.metadata, state.is_deleted) == ([], {}, True)
    assert events[-1]["error"]["code"] == "conversation_not_found"
    assert calls == 0
    assert more[-1]["error"]["code"] == "conversation_not_found"


async def test_look_changes_nothing(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        events = await rig.ended(await change(rig))

    assert events[-1]["type"] == "completed"
    assert ("acme", CONVERSATION) not in rig.conversations.states


async def test_change_that_names_no_conversation_is_refused(tmp_path: Path) -> None:
    async with llm_rig(tmp_path) as rig:
        events = await rig.ended(await rig.submit(task="conversation", input={}))

    assert events[-1]["error"]["param"] == "conversation"
