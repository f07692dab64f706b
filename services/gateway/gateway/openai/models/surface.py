"""`/v1/models` as a table."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from gateway.route_specs import ALWAYS, AUTH_ERRORS, Good, RouteSpec

__all__ = ["MODELS_SURFACE"]

_MODEL: Final = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "Name of the model.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128},
}


class ModelBody(BaseModel):
    """A model. `created` is when this gateway began to know it; `owned_by` names its provider."""

    model_config = ConfigDict(title="Model")

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelListBody(BaseModel):
    """All models that callers may name, by name."""

    model_config = ConfigDict(title="ModelList")

    object: Literal["list"]
    data: list[ModelBody]


MODELS_SURFACE: Final = (
    RouteSpec(
        method="GET",
        path="/v1/models",
        handler="list_models",
        summary="List models",
        about="Models of the providers file and of the embedder.",
        good=(Good(200, "The models.", ModelListBody),),
        errors=(*AUTH_ERRORS, *ALWAYS),
    ),
    RouteSpec(
        method="GET",
        path="/v1/models/{model:path}",
        handler="retrieve_model",
        summary="Look at a model",
        about="Whether a model may be named, and who serves it.",
        parameters=(_MODEL,),
        good=(Good(200, "The model.", ModelBody),),
        errors=(*AUTH_ERRORS, "model_not_found", *ALWAYS),
    ),
)
