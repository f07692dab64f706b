"""`client.conversations` of the `openai` package, unmodified, at real processes."""

from __future__ import annotations

import openai
import pytest
from openai.types.conversations import Message

from tests.acceptance.openai_sdk.conftest import MODEL

pytestmark = pytest.mark.timeout(180)


def test_conversation_lives_from_create_to_delete(client: openai.OpenAI) -> None:
    made = client.conversations.create(
        metadata={"topic": "names"}, items=[{"role": "user", "content": "My name is Ada."}]
    )
    got = client.conversations.retrieve(made.id)
    changed = client.conversations.update(made.id, metadata={"topic": "people"})
    added = client.conversations.items.create(
        made.id, items=[{"role": "user", "content": "I like tea."}]
    )
    item = client.conversations.items.retrieve(added.data[0].id or "", conversation_id=made.id)
    client.conversations.items.delete(added.data[0].id or "", conversation_id=made.id)
    left = list(client.conversations.items.list(made.id))
    gone = client.conversations.delete(made.id)

    assert made.id.startswith("conv_")
    assert got == made
    assert got.metadata == {"topic": "names"}
    assert changed.metadata == {"topic": "people"}
    assert isinstance(item, Message)
    assert [part.text for part in item.content if part.type == "input_text"] == ["I like tea."]
    assert len(left) == 1
    assert gone.deleted
    with pytest.raises(openai.NotFoundError) as caught:
        client.conversations.retrieve(made.id)
    assert caught.value.code == "conversation_not_found"


def test_turns_are_appended_in_order_and_pages_go_on(client: openai.OpenAI) -> None:
    made = client.conversations.create()
    first = client.responses.create(model=MODEL, input="one", conversation=made.id)
    second = client.responses.create(
        model=MODEL, input="two", instructions="Be brief.", conversation=made.id
    )
    items = list(client.conversations.items.list(made.id, order="asc", limit=1))

    assert first.conversation is not None
    assert first.conversation.id == made.id
    assert [item.role for item in items if isinstance(item, Message)] == [
        "user",
        "assistant",
        "user",
        "assistant",
    ]
    assert [items[1].id, items[3].id] == [first.output[0].id, second.output[0].id]
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens, "it read what was said before"


async def test_ids_that_were_never_issued_are_not_found(aclient: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await aclient.conversations.retrieve("conv_" + "0" * 42)
    with pytest.raises(openai.NotFoundError):
        await aclient.responses.create(model=MODEL, input="x", conversation="conv_" + "0" * 42)


async def test_repeated_key_makes_one_conversation(aclient: openai.AsyncOpenAI) -> None:
    headers = {"Idempotency-Key": "conversation-1"}
    first = await aclient.conversations.create(metadata={"a": "b"}, extra_headers=headers)
    second = await aclient.conversations.create(metadata={"a": "b"}, extra_headers=headers)

    assert first == second
