"""Makes what `/v1/conversations` and turns of conversations need."""

from __future__ import annotations

from penstock_contracts.ids import JobIds

from gateway.openai.conversations.changing import Changer
from gateway.openai.conversations.desk import ConversationDesk
from gateway.openai.conversations.endpoints import ConversationEndpoints
from gateway.openai.conversations.ids import ConversationIds
from gateway.openai.conversations.ports import ConversationView
from gateway.openai.moderations.wiring import build_reader
from gateway.openai.wiring import FrontDoor

__all__ = ["build_conversation_desk", "build_conversations"]


def build_conversation_desk(door: FrontDoor, view: ConversationView) -> ConversationDesk:
    """The desk; it is also the gate for turns."""
    native, group = door.native, door.settings.gateway
    secret = door.settings.auth.id_secret.get_secret_value().encode()
    return ConversationDesk(
        ids=ConversationIds(secret),
        job_ids=JobIds(secret),
        view=view,
        changer=Changer(
            runner=door.runner, canceller=native.canceller, patience=group.conversation_patience
        ),
        clock=native.clock,
        randomness=native.randomness,
        ttl=group.conversation_ttl,
    )


def build_conversations(door: FrontDoor, desk: ConversationDesk) -> ConversationEndpoints:
    """The endpoints."""
    return ConversationEndpoints(reader=build_reader(door), desk=desk)
