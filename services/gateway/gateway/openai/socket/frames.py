"""Frames of WebSocket mode: what clients may send, and events and errors as they go out. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from penstock_contracts.codec import dumps

from gateway.errors import ApiError, problem_body
from gateway.openai.reading import decoded

__all__ = ["Cancel", "Create", "Frame", "error_frame", "event_frame", "open_frame", "read_frame"]

_MAX_STREAM_ID: Final = 128
_TYPES: Final = "'response.create', and 'response.cancel'"
_TRANSPORT: Final = frozenset({"type", "stream_id", "stream", "generate"})
"""Members of the frame, not of the body: streaming is what a socket is for."""


@dataclass(frozen=True, slots=True)
class Create:
    """A response to make, on a lane; None is the lane without a name."""

    body: dict[str, Any]
    stream_id: str | None


@dataclass(frozen=True, slots=True)
class Cancel:
    """A response to call back: by its id, or the one that runs on a lane."""

    response_id: str | None
    stream_id: str | None


@dataclass(frozen=True, slots=True)
class Frame:
    """A message of which the lane is known, so that what is wrong with it is told there."""

    members: Mapping[str, Any]
    stream_id: str | None


def open_frame(raw: bytes) -> Frame:
    """What a client sent, as far as its lane.

    Raises:
        ApiError: in OpenAI's words.
    """
    value = decoded(raw)
    if not isinstance(value, dict):
        raise ApiError("invalid_type", "Invalid frame: expected an object with 'type'.")
    return Frame(value, _stream_id(value))


def read_frame(frame: Frame) -> Create | Cancel:
    """What a client asks for.

    Raises:
        ApiError: in OpenAI's words.
    """
    kind = frame.members.get("type")
    if kind is None:
        raise ApiError(
            "missing_required_parameter", "Missing required parameter: 'type'.", param="type"
        )
    if kind == "response.create":
        return _create(frame)
    if kind == "response.cancel":
        return _cancel(frame)
    if kind == "response.steer":
        message = (
            "Unsupported value: 'response.steer' is not supported here: responses cannot be "
            "steered while they run; cancel one and create another."
        )
        raise ApiError("unsupported_value", message, param="type")
    shown = kind[:64] if isinstance(kind, str) else type(kind).__name__
    message = f"Invalid value: '{shown}'. Supported values are: {_TYPES}."
    raise ApiError("invalid_value", message, param="type")


def event_frame(payload: Mapping[str, Any], stream_id: str | None) -> str:
    """An event of the stream, with its lane."""
    if stream_id is not None:
        payload = {**payload, "stream_id": stream_id}
    return dumps(payload).decode()


def error_frame(
    error: ApiError, stream_id: str | None = None, *, sequence_number: int | None = None
) -> str:
    """An error as sockets tell it: nested, unlike the event of the same name."""
    told = dict(problem_body(error, instance="")["error"])
    headers = {name.lower(): value for name, value in error.details.headers.items()}
    headers.pop("connection", None)  # a matter of HTTP alone: the socket stays
    if error.details.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(error.details.retry_after_s))
    if headers:
        told["headers"] = headers
    frame: dict[str, Any] = {"type": "error", "status": error.kind.status, "error": told}
    if stream_id is not None:
        frame["stream_id"] = stream_id
    if sequence_number is not None:
        frame["sequence_number"] = sequence_number
    return dumps(frame).decode()


def _stream_id(value: Mapping[str, Any]) -> str | None:
    stream_id = value.get("stream_id")
    if stream_id is None:
        return None
    if not isinstance(stream_id, str) or not 0 < len(stream_id) <= _MAX_STREAM_ID:
        message = f"Invalid 'stream_id': expected a string of 1 to {_MAX_STREAM_ID} characters."
        raise ApiError("invalid_value", message, param="stream_id")
    return stream_id


def _create(frame: Frame) -> Create:
    if frame.members.get("background"):
        message = (
            "Unsupported parameter: 'background' is not supported over WebSocket; every response "
            "runs on when the socket closes, and can be resumed."
        )
        raise ApiError("unsupported_parameter", message, param="background")
    _check_generates(frame.members.get("generate"))
    body = {name: part for name, part in frame.members.items() if name not in _TRANSPORT}
    return Create({**body, "stream": True}, frame.stream_id)


def _check_generates(generate: Any) -> None:
    """OpenAI warms a socket up by a response without output; here nothing would become warm."""
    if generate is None or generate is True:
        return
    if generate is not False:
        message = "Invalid type for 'generate': expected a boolean."
        raise ApiError("invalid_type", message, param="generate")
    message = (
        "Unsupported parameter: 'generate' false is not supported here: there is nothing to warm "
        "up; send the response itself."
    )
    raise ApiError("unsupported_parameter", message, param="generate")


def _cancel(frame: Frame) -> Cancel:
    unknown = frame.members.keys() - {"type", "response_id", "stream_id"}
    if unknown:
        name = min(unknown)[:64]
        raise ApiError("unknown_parameter", f"Unknown parameter: '{name}'.", param=name)
    response_id = frame.members.get("response_id")
    if response_id is not None and not isinstance(response_id, str):
        message = "Invalid type for 'response_id': expected a string."
        raise ApiError("invalid_type", message, param="response_id")
    return Cancel(response_id, frame.stream_id)
