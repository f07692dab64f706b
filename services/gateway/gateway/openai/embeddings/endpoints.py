"""HTTP in: texts are embedded and answered whole."""

from __future__ import annotations

from starlette.requests import Request

from gateway.http import Answer
from gateway.openai.asking import Ask
from gateway.openai.embeddings.asked import EmbeddingAsk, embedding_ask, field_of_input
from gateway.openai.embeddings.shapes import embedding_list
from gateway.openai.known_models import KnownModels
from gateway.openai.running import Came, Runner
from gateway.openai.wiring import FrontDoor

__all__ = ["EmbeddingEndpoints", "build_embeddings"]


class EmbeddingEndpoints:
    """`/v1/embeddings`."""

    def __init__(self, *, runner: Runner, models: KnownModels) -> None:
        self._runner = runner
        self._models = models

    async def create_embedding(self, request: Request) -> Answer:
        """`POST /v1/embeddings`."""
        asked: list[EmbeddingAsk] = []

        async def translate(came: Came) -> Ask:
            asked.append(embedding_ask(came.body, self._models))
            return asked[0].ask

        running = await self._runner.begin(request, translate)
        with running.answering():
            ending = await running.ended(request.receive)
            output = ending.completed_output(field_of_input)
        value = embedding_list(output, ending.usage, as_base64=asked[0].as_base64)
        return Answer.of(200, value, running.headers())


def build_embeddings(door: FrontDoor) -> EmbeddingEndpoints:
    """The endpoints."""
    return EmbeddingEndpoints(runner=door.runner, models=door.models)
