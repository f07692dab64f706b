"""The two bases that every contract model has."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, PlainSerializer, StringConstraints

__all__ = ["Fact", "Identifier", "Name", "Order", "Timestamp"]


def _rfc3339(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[AwareDatetime, PlainSerializer(_rfc3339, return_type=str, when_used="json")]
"""An instant; RFC 3339 with milliseconds on the wire."""

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}$")]
"""A tenant, user, conversation, worker or document id: printable ASCII, 1 to 128 characters."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
"""A task, template or collection name: lower case, 1 to 64 characters."""


class Order(BaseModel):
    """What somebody asks of us: unknown fields are refused, no typing error passes silently."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, ser_json_inf_nan="constants", allow_inf_nan=False
    )


class Fact(BaseModel):
    """What we state: readers ignore fields that they do not know, so that facts may grow."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)
