"""HTTP in: conversations are begun, read, changed and deleted."""

from __future__ import annotations

from typing import Any

from penstock_kit.auth.principal import Principal
from starlette.requests import Request

from gateway.http import Answer, named_headers
from gateway.openai.conversations.changing import Asked
from gateway.openai.conversations.desk import Conversation, ConversationDesk
from gateway.openai.conversations.items import conversation_items, item_named
from gateway.openai.conversations.models import ConversationBody, ItemsBody, MetadataBody
from gateway.openai.reading import BodyReader
from gateway.openai.responses.input_items import input_items, item_page, item_query
from gateway.openai.responses.items import messages_of
from gateway.openai.strict import read_body_as
from gateway.parameters import idempotency_key

__all__ = ["ConversationEndpoints"]


class ConversationEndpoints:
    """`/v1/conversations`."""

    def __init__(self, *, reader: BodyReader, desk: ConversationDesk) -> None:
        self._reader = reader
        self._desk = desk

    async def create_conversation(self, request: Request) -> Answer:
        """`POST /v1/conversations`."""
        principal = self._reader.caller(request)
        sent = await self._reader.read(request)
        content = {} if sent is None else sent
        read_body_as(ConversationBody, content)
        change: dict[str, Any] = {}
        if content.get("items"):
            change["add"] = messages_of(content["items"], {})
        if content.get("metadata"):
            change["metadata"] = content["metadata"]
        conversation, headers = await self._desk.begin(
            principal, change, key=_key(request), content=content
        )
        found = await self._desk.find(principal, conversation)
        return Answer.of(200, found.shown(), headers)

    async def get_conversation(self, request: Request) -> Answer:
        """`GET /v1/conversations/{conversation_id}`."""
        _, found = await self._found(request)
        return Answer.of(200, found.shown())

    async def update_conversation(self, request: Request) -> Answer:
        """`POST /v1/conversations/{conversation_id}`."""
        principal = self._reader.caller(request)
        content = await self._reader.read(request)
        read_body_as(MetadataBody, content)
        change = {"metadata": content["metadata"] or {}}
        headers = await self._desk.change(_asked(request, principal, change, content))
        return await self._shown(request, principal, headers)

    async def delete_conversation(self, request: Request) -> Answer:
        """`DELETE /v1/conversations/{conversation_id}`."""
        principal = self._reader.caller(request)
        headers = await self._desk.change(_asked(request, principal, {"delete": True}, None))
        body = {"id": _id(request), "object": "conversation.deleted", "deleted": True}
        return Answer.of(200, body, headers)

    async def list_conversation_items(self, request: Request) -> Answer:
        """`GET /v1/conversations/{conversation_id}/items`."""
        _, found = await self._found(request)
        query = item_query(request.query_params)
        return Answer.of(200, item_page(conversation_items(found.state), query))

    async def create_conversation_items(self, request: Request) -> Answer:
        """`POST /v1/conversations/{conversation_id}/items`."""
        principal = self._reader.caller(request)
        content = await self._reader.read(request)
        read_body_as(ItemsBody, content)
        added = messages_of(content["items"], {})
        headers = await self._desk.change(_asked(request, principal, {"add": added}, content))
        items = input_items(_job(headers), added)
        page = {
            "object": "list",
            "data": items,
            "first_id": items[0]["id"],
            "last_id": items[-1]["id"],
            "has_more": False,
        }
        return Answer.of(200, page, headers)

    async def get_conversation_item(self, request: Request) -> Answer:
        """`GET /v1/conversations/{conversation_id}/items/{item_id}`."""
        _, found = await self._found(request)
        return Answer.of(200, item_named(found.state, request.path_params["item_id"]))

    async def delete_conversation_item(self, request: Request) -> Answer:
        """`DELETE /v1/conversations/{conversation_id}/items/{item_id}`."""
        principal, found = await self._found(request)
        item = item_named(found.state, request.path_params["item_id"])
        change = {"remove": item["id"]}
        headers = await self._desk.change(_asked(request, principal, change, None))
        return await self._shown(request, principal, headers)

    async def _found(self, request: Request) -> tuple[Principal, Conversation]:
        principal = self._reader.caller(request)
        return principal, await self._desk.find(principal, _id(request))

    async def _shown(
        self, request: Request, principal: Principal, headers: list[tuple[bytes, bytes]]
    ) -> Answer:
        found = await self._desk.find(principal, _id(request))
        return Answer.of(200, found.shown(), headers)


def _id(request: Request) -> str:
    conversation: str = request.path_params["conversation_id"]
    return conversation


def _key(request: Request) -> str | None:
    return idempotency_key(named_headers(request.scope).get("idempotency-key"))


def _asked(request: Request, principal: Principal, change: dict[str, Any], content: Any) -> Asked:
    return Asked(
        principal=principal,
        conversation=_id(request),
        route=request.scope["path"],
        change=change,
        key=_key(request),
        content=content,
    )


def _job(headers: list[tuple[bytes, bytes]]) -> str:
    return dict(headers)[b"x-penstock-job"].decode()
