"""What clients may say, checked strictly."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from penstock_contracts.codec import decode_json, first_problem
from penstock_contracts.errors import ContractError, MalformedJson
from penstock_contracts.events import Position
from penstock_contracts.models import Order
from pydantic import Field, TypeAdapter, ValidationError, model_validator

__all__ = [
    "MAX_MESSAGE_BYTES",
    "Auth",
    "BadMessage",
    "Cancel",
    "ClientMessage",
    "Ping",
    "Subscribe",
    "Unsubscribe",
    "read_message",
]

MAX_MESSAGE_BYTES: Final = 64 * 1024
_MAX_TOKEN_CHARS: Final = 16 * 1024
_MAX_NUMBER: Final = 9_999_999_999
_JobId = Annotated[str, Field(max_length=64)]


class BadMessage(ContractError):
    """The text is no message of ours; the sentence names the field and the fix."""

    code = "invalid_message"


class Auth(Order):
    """Who is calling; the first message unless the handshake said it."""

    type: Literal["auth"]
    token: str = Field(min_length=1, max_length=_MAX_TOKEN_CHARS)


class Place(Order):
    """A place in a job's stream."""

    attempt: int = Field(ge=0, le=_MAX_NUMBER, strict=True)
    seq: int = Field(ge=0, le=_MAX_NUMBER, strict=True)


class _Target(Order):
    job: _JobId | None = None
    all: Literal[True] | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.job is None) == (self.all is None):
            raise ValueError('give either "job" with a job id, or "all": true')
        return self


class Subscribe(_Target):
    """Follow a job, from after `position` if it is given, or all jobs of the caller."""

    type: Literal["subscribe"]
    position: Place | None = None

    @model_validator(mode="after")
    def _position_is_of_a_job(self) -> Self:
        if self.position is not None and self.job is None:
            raise ValueError('"position" goes with "job" only')
        return self

    @property
    def after(self) -> Position | None:
        """Where the client stands."""
        place = self.position
        return None if place is None else Position(place.attempt, place.seq)


class Unsubscribe(_Target):
    """Stop following."""

    type: Literal["unsubscribe"]


class Cancel(Order):
    """Call a job back."""

    type: Literal["cancel"]
    job: _JobId


class Ping(Order):
    """Answered by `pong` with the same `id`."""

    type: Literal["ping"]
    id: str | None = Field(default=None, max_length=64)


ClientMessage = Auth | Subscribe | Unsubscribe | Cancel | Ping
_MESSAGES: Final[TypeAdapter[ClientMessage]] = TypeAdapter(
    Annotated[ClientMessage, Field(discriminator="type")]
)
_TYPES: Final = ("auth", "subscribe", "unsubscribe", "cancel", "ping")


def read_message(raw: bytes) -> ClientMessage:
    """The message in a text frame.

    Raises:
        BadMessage: with a sentence that names the field and the fix, and quotes nothing else.
    """
    try:
        content = decode_json(raw, max_bytes=MAX_MESSAGE_BYTES)
    except MalformedJson as error:
        raise BadMessage(f"{error}; send one JSON object per text frame") from None
    if not isinstance(content, dict):
        raise BadMessage('a message is a JSON object with a "type"')
    if content.get("type") not in _TYPES:
        raise BadMessage(f"type: use one of {', '.join(_TYPES)}", field="type")
    try:
        return _MESSAGES.validate_python(content)
    except ValidationError as error:
        problem = first_problem(error)
        path = (problem.field or "").partition(".")[2] or None
        text = str(problem).partition(": ")[2].removeprefix("Value error, ")
        raise BadMessage(f"{path or content['type']}: {text}", field=path) from None
