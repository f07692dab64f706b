"""Makes the endpoints of `/v1/chat/completions`."""

from __future__ import annotations

from gateway.openai.chat.endpoints import ChatEndpoints
from gateway.openai.wiring import FrontDoor

__all__ = ["build_chat"]


def build_chat(door: FrontDoor) -> ChatEndpoints:
    """The endpoints."""
    return ChatEndpoints(runner=door.runner, models=door.models, streams=door.chunk_streams)
