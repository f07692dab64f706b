"""What a job looks like to callers of another API, and what is kept of its request for them."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from penstock_contracts.models import Fact, Order
from penstock_contracts.parts import BlobRef

__all__ = ["KeptRequest", "Surface", "SurfaceKind"]

SurfaceKind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.]{0,63}$")]
"""Which object of which API the job is: `chat.completion`, `response`, `batch.line`, ..."""


class Surface(Order):
    """The face that a job shows to callers of another API. Workers do not look at it."""

    kind: SurfaceKind
    echo: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="What the object gives back of its request: instructions, tools, metadata, ...",
    )
    first_item: int = Field(
        default=0,
        ge=0,
        strict=True,
        description="Index of the first input message of this turn; those before are its history.",
    )
    kept: bool = Field(
        default=False,
        strict=True,
        description="Whether the request is kept with the job, so that it can be fetched again.",
    )
    told: bool = Field(
        default=True,
        strict=True,
        description="Whether webhooks tell its end; the ends of a batch's lines are the batch's.",
    )


class KeptRequest(Fact):
    """What is kept of the request of a job whose surface says so."""

    surface: Surface
    input: dict[str, Any] | None = None
    input_ref: BlobRef | None = None

    @model_validator(mode="after")
    def _one_input(self) -> Self:
        if (self.input is None) == (self.input_ref is None):
            raise ValueError("give exactly one of input and input_ref")
        return self
