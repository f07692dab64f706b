"""HTTP in: a completion is asked for, and answered whole or as it comes."""

from __future__ import annotations

from starlette.requests import Request

from gateway.http import Answer, StreamAnswer
from gateway.openai.asking import Ask
from gateway.openai.completions.asked import CompletionAsk, completion_ask
from gateway.openai.completions.shapes import CompletionChunks, completion_object
from gateway.openai.known_models import KnownModels
from gateway.openai.running import Came, Runner
from gateway.openai.streaming import ChunkStreams
from gateway.openai.wiring import FrontDoor

__all__ = ["CompletionEndpoints", "build_completions"]


class CompletionEndpoints:
    """`/v1/completions`."""

    def __init__(self, *, runner: Runner, models: KnownModels, streams: ChunkStreams) -> None:
        self._runner = runner
        self._models = models
        self._streams = streams

    async def create_completion(self, request: Request) -> Answer | StreamAnswer:
        """`POST /v1/completions`."""
        asked: list[CompletionAsk] = []

        async def translate(came: Came) -> Ask:
            asked.append(completion_ask(came.body, self._models))
            return asked[0].ask

        running = await self._runner.begin(request, translate)
        style = asked[0].style
        created = int(running.created_at.timestamp())
        if style.is_streamed:
            chunks = CompletionChunks(
                object_id=running.object_id, created=created, model=running.model, style=style
            )
            return await self._streams.answer(request, running, chunks)
        with running.answering():
            ending = await running.ended(request.receive)
            output = ending.completed_output()
        value = completion_object(
            output,
            object_id=running.object_id,
            created=created,
            model=ending.model or running.model,
            usage=ending.usage,
            style=style,
        )
        return Answer.of(200, value, running.headers())


def build_completions(door: FrontDoor) -> CompletionEndpoints:
    """The endpoints."""
    return CompletionEndpoints(runner=door.runner, models=door.models, streams=door.chunk_streams)
