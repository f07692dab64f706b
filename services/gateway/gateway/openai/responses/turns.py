"""What a response goes on from: the messages of the one before it, and items named by their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from penstock_contracts.ids import JobIds
from penstock_contracts.item_ids import item_of
from penstock_kit.auth.principal import Principal

from gateway.errors import ApiError
from gateway.openai.object_ids import RESPONSE_PREFIX, object_id
from gateway.openai.responses.lookup import Found, ResponseLookup
from gateway.openai.responses.objects import output_of_choice

__all__ = ["Turns", "answer_message"]


class Turns:
    """Reads what was said before."""

    def __init__(self, lookup: ResponseLookup, *, ids: JobIds) -> None:
        self._lookup = lookup
        self._ids = ids

    async def history(self, principal: Principal, previous: str) -> list[dict[str, Any]]:
        """The messages that a response after `previous` begins with; instructions do not go on.

        Raises:
            ApiError: previous_response_not_found, previous_response_unusable, table_unavailable.
        """
        found = await self._lookup.ended(principal, previous)
        if found is None:
            message = f"Previous response with id '{previous[:64]}' not found."
            raise ApiError("previous_response_not_found", message, param="previous_response_id")
        choice = await self._lookup.choice(found)
        if choice is None or "conversation" in found.facts.echo:
            raise _unusable(found)
        messages = await self._lookup.messages(found)
        if found.facts.echo.get("instructions") is not None:
            messages = messages[1:]
        return [*messages, answer_message(choice)]

    async def items(
        self, principal: Principal, references: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Output items of earlier responses, by their ids.

        Raises:
            ApiError: item_not_found, table_unavailable.
        """
        return {name: await self._item(principal, name) for name in references}

    async def _item(self, principal: Principal, name: str) -> dict[str, Any]:
        place = item_of(name.replace("rs_", "msg_", 1) if name.startswith("rs_") else name)
        found = None
        if place is not None:
            job = self._ids.issue(tenant=principal.tenant, uuid=UUID(hex=place[0][:32]))
            found = await self._lookup.ended(principal, object_id(RESPONSE_PREFIX, job))
        choice = None if found is None else await self._lookup.choice(found)
        if found is not None and choice is not None:
            for item in output_of_choice(found.state.job, choice):
                if item["id"] == name:
                    return item
        message = (
            f"Item with id '{name[:64]}' not found. Items are kept as output of stored responses; "
            "send the item itself."
        )
        raise ApiError("item_not_found", message, param="input")


def answer_message(choice: Mapping[str, Any]) -> dict[str, Any]:
    """What the model answered, as a message of the history."""
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"]},
        }
        for call in choice.get("tool_calls") or ()
    ]
    text = choice.get("text") or choice.get("refusal") or ""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message |= {"content": text or None, "tool_calls": calls}
    return message


def _unusable(found: Found) -> ApiError:
    conversation = found.facts.echo.get("conversation")
    if isinstance(conversation, dict):
        message = (
            "The previous response is a turn of a conversation; go on with "
            f"'conversation': '{conversation.get('id')}'."
        )
    elif found.state.status.is_terminal:
        message = (
            f"The previous response has no output: it ended as {found.state.status.value}. Go on "
            "from the response before it."
        )
    else:
        message = (
            f"The previous response is not finished: it is {found.state.status.value}. Wait until "
            "it is completed."
        )
    return ApiError("previous_response_unusable", message, param="previous_response_id")
