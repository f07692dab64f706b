"""`/v1/embeddings` as a table."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from gateway.openai.embeddings.asked import EmbeddingBody
from gateway.openai.route_parts import CREATE_ERRORS, CREATED_HEADERS
from gateway.route_specs import CANCEL_AFTER, IDEMPOTENCY_KEY, Good, RouteSpec

__all__ = ["EMBEDDINGS_SURFACE"]


class EmbeddingItem(BaseModel):
    """One vector of unit length; base64 is of little-endian float32."""

    model_config = ConfigDict(title="Embedding")

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens of all texts."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingListBody(BaseModel):
    """Vectors in the order of the texts."""

    model_config = ConfigDict(title="EmbeddingList")

    object: Literal["list"]
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage


EMBEDDINGS_SURFACE: Final = (
    RouteSpec(
        method="POST",
        path="/v1/embeddings",
        handler="create_embedding",
        summary="Create embeddings",
        about=(
            "Token lists are ids of the embedding model's own vocabulary. `dimensions` is refused "
            "where the model cannot shorten its vectors."
        ),
        body=EmbeddingBody,
        parameters=(IDEMPOTENCY_KEY, CANCEL_AFTER),
        good=(Good(200, "The vectors.", EmbeddingListBody, headers=CREATED_HEADERS),),
        errors=CREATE_ERRORS,
    ),
)
