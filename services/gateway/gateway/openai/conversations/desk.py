"""Conversations by their ids: what exists, what is in it, how it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from penstock_contracts.conversations import ConversationState
from penstock_contracts.ids import JobIds, new_uuid7
from penstock_kit.auth.principal import Principal
from penstock_kit.clock import Clock
from penstock_kit.jobs.view import TableAway
from penstock_kit.tenancy import TenantScope

from gateway.errors import ApiError
from gateway.openai.conversations.changing import Asked, Changer
from gateway.openai.conversations.ids import ConversationIds, created_at, has_time
from gateway.openai.conversations.ports import ConversationView, ViewIncomplete
from gateway.status import table_unavailable

__all__ = ["ROUTE", "ConversationDesk", "Conversation"]

ROUTE: Final = "/v1/conversations"

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One that exists; `state` None: nothing was ever said or noted in it."""

    id: str
    state: ConversationState | None

    def shown(self) -> dict[str, Any]:
        """The object of OpenAI's API."""
        began = self.state.created_at if self.state is not None else None
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": int((began or created_at(self.id)).timestamp()),
            "metadata": dict(self.state.metadata) if self.state is not None else {},
        }


class ConversationDesk:
    """Implements `ConversationGate`.

    An id that was issued is an empty conversation until the log says more: to begin one without
    items writes nothing.
    """

    def __init__(
        self,
        *,
        ids: ConversationIds,
        job_ids: JobIds,
        view: ConversationView,
        changer: Changer,
        clock: Clock,
        randomness: Callable[[int], bytes],
        ttl: timedelta,
    ) -> None:
        self._ids = ids
        self._job_ids = job_ids
        self._view = view
        self._changer = changer
        self._clock = clock
        self._randomness = randomness
        self._ttl = ttl

    async def enter(self, principal: Principal, conversation: str) -> str:
        """Let a turn in; see the port."""
        return (await self.find(principal, conversation, param="conversation")).id

    async def begin(
        self, principal: Principal, change: dict[str, Any], *, key: str | None, content: Any
    ) -> tuple[str, Headers]:
        """A new conversation; a repeated key gives the same one."""
        tenant = principal.tenant
        if key is not None:
            uuid = self._job_ids.uuid_for_key(tenant=tenant, route=ROUTE, key=key)
            # Written even if it is empty: its id does not tell when it began.
            change = {"metadata": {}, **change}
        else:
            now_ms = int(self._clock.now().timestamp() * 1000)
            uuid = new_uuid7(now_ms=now_ms, randomness=self._randomness(10))
        conversation = self._ids.issue(tenant=tenant, uuid=uuid)
        if not change:
            return conversation, []
        asked = Asked(
            principal=principal,
            conversation=conversation,
            route=ROUTE,
            change=change,
            key=key,
            content=content,
        )
        return conversation, await self._changer.run(asked)

    async def change(self, asked: Asked) -> Headers:
        """Change one that exists.

        Raises:
            ApiError: conversation_not_found, and the refusals of `Changer.run`.
        """
        await self.find(asked.principal, asked.conversation)
        return await self._changer.run(asked)

    async def find(
        self, principal: Principal, conversation: str, *, param: str = "conversation_id"
    ) -> Conversation:
        """One that exists and that the caller may see.

        Raises:
            ApiError: conversation_not_found, table_unavailable; and the refusals of `Changer.run`,
                where the view has to be read back first.
        """
        if not self._ids.was_issued(conversation, tenant=principal.tenant):
            raise _not_found(conversation, param)
        try:
            state = await self._state(principal, conversation)
        except TableAway as error:
            raise table_unavailable(error) from error
        if state is None and not self._may_be_empty(conversation):
            raise _not_found(conversation, param)
        if state is not None and (state.is_deleted or not _may_see(principal, state)):
            raise _not_found(conversation, param)
        return Conversation(conversation, state)

    async def _state(self, principal: Principal, conversation: str) -> ConversationState | None:
        scope = TenantScope(principal.tenant)
        try:
            return await self._view.find(scope, conversation)
        except ViewIncomplete:
            # A worker that looks reads the whole view back first.
            look = Asked(
                principal=principal, conversation=conversation, route=f"{ROUTE}:look", change={}
            )
            await self._changer.run(look)
            return await self._view.find(scope, conversation)

    def _may_be_empty(self, conversation: str) -> bool:
        if not has_time(conversation):
            return False
        oldest: datetime = self._clock.now() - self._ttl
        return created_at(conversation) > oldest


def _may_see(principal: Principal, state: ConversationState) -> bool:
    return principal.scope.may_see(tenant=state.tenant, user=state.user)


def _not_found(conversation: str, param: str) -> ApiError:
    message = f"Conversation with id '{conversation[:64]}' not found."
    return ApiError("conversation_not_found", message, param=param)
