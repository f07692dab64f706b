"""HTTP in: a chat completion is asked for, and answered whole or as it comes."""

from __future__ import annotations

from starlette.requests import Request

from gateway.http import Answer, StreamAnswer
from gateway.openai.asking import Ask
from gateway.openai.chat.asked import ChatAsk, ChatStyle, chat_ask
from gateway.openai.chat.chunks import ChatChunks
from gateway.openai.chat.shapes import chat_object
from gateway.openai.known_models import KnownModels
from gateway.openai.running import Came, Runner
from gateway.openai.streaming import ChunkStreams
from gateway.openai.under_way import Running
from gateway.openai.wiring import FrontDoor

__all__ = ["ChatEndpoints", "build_chat"]


class ChatEndpoints:
    """`/v1/chat/completions`."""

    def __init__(self, *, runner: Runner, models: KnownModels, streams: ChunkStreams) -> None:
        self._runner = runner
        self._models = models
        self._streams = streams

    async def create_chat_completion(self, request: Request) -> Answer | StreamAnswer:
        """`POST /v1/chat/completions`."""
        asked: list[ChatAsk] = []

        async def translate(came: Came) -> Ask:
            asked.append(chat_ask(came.body, self._models))
            return asked[0].ask

        running = await self._runner.begin(request, translate)
        style = asked[0].style
        if style.is_streamed:
            return await self._streams.answer(request, running, _chunks(running, style))
        with running.answering():
            ending = await running.ended(request.receive)
            output = ending.completed_output()
        value = chat_object(
            output,
            object_id=running.object_id,
            created=int(running.created_at.timestamp()),
            model=ending.model or running.model,
            usage=ending.usage,
            style=style,
        )
        return Answer.of(200, value, running.headers())


def build_chat(door: FrontDoor) -> ChatEndpoints:
    """The endpoints."""
    return ChatEndpoints(runner=door.runner, models=door.models, streams=door.chunk_streams)


def _chunks(running: Running, style: ChatStyle) -> ChatChunks:
    return ChatChunks(
        object_id=running.object_id,
        created=int(running.created_at.timestamp()),
        model=running.model,
        style=style,
    )
