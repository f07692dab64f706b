"""The body of `POST /v1/batches`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from gateway.openai.files.fields import MAX_LIFE_S, MIN_LIFE_S
from gateway.openai.strict import Body

__all__ = ["BatchBody", "OutputExpiresAfter"]

_Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]


class OutputExpiresAfter(Body):
    """How long the files that the batch writes are kept."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=MIN_LIFE_S, le=MAX_LIFE_S)


class BatchBody(Body):
    """A batch to run."""

    refused: ClassVar[Mapping[str, str]] = {}

    input_file_id: str = Field(min_length=1, max_length=128)
    endpoint: Literal["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions"]
    completion_window: Literal["24h"]
    metadata: _Metadata | None = None
    output_expires_after: OutputExpiresAfter | None = None
