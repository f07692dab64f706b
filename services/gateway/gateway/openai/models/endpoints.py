"""HTTP in: which models there are."""

from __future__ import annotations

from starlette.requests import Request

from gateway.http import Answer
from gateway.openai.known_models import KnownModels
from gateway.openai.running import Runner
from gateway.openai.wiring import FrontDoor

__all__ = ["ModelEndpoints", "build_models"]


class ModelEndpoints:
    """`/v1/models`."""

    def __init__(self, *, runner: Runner, models: KnownModels) -> None:
        self._runner = runner
        self._models = models

    async def list_models(self, request: Request) -> Answer:
        """`GET /v1/models`."""
        self._runner.caller(request)
        return Answer.of(200, {"object": "list", "data": self._models.listed()})

    async def retrieve_model(self, request: Request) -> Answer:
        """`GET /v1/models/{model}`; names may have slashes."""
        self._runner.caller(request)
        return Answer.of(200, self._models.one(request.path_params["model"]))


def build_models(door: FrontDoor) -> ModelEndpoints:
    """The endpoints."""
    return ModelEndpoints(runner=door.runner, models=door.models)
