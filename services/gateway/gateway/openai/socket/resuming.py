"""Where a socket goes on: `?response_id=&starting_after=&stream_id=` of its address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import ApiError

__all__ = ["Resume", "asked_resume"]

_KNOWN: Final = frozenset({"response_id", "starting_after", "stream_id"})
_MAX_CHARS: Final = 128
_MAX_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Resume:
    """A response to go on with, after a `sequence_number`; None: from its first event on."""

    response_id: str
    after: int | None
    stream_id: str | None


def asked_resume(query: Mapping[str, str]) -> Resume | None:
    """What the address asks for, read strictly.

    Raises:
        ApiError: unknown_parameter, missing_required_parameter, invalid_value.
    """
    for name in query:
        if name not in _KNOWN:
            shown = name[:64]
            raise ApiError("unknown_parameter", f"Unknown parameter: '{shown}'.", param=shown)
    response_id = query.get("response_id")
    if response_id is None:
        if query:
            message = "Missing required parameter: 'response_id'."
            raise ApiError("missing_required_parameter", message, param="response_id")
        return None
    after = query.get("starting_after")
    if after is not None and not (
        after.isascii() and after.isdigit() and len(after) <= _MAX_DIGITS
    ):
        message = "Invalid 'starting_after': expected a sequence_number, a whole number."
        raise ApiError("invalid_value", message, param="starting_after")
    stream_id = query.get("stream_id")
    if stream_id is not None and not 0 < len(stream_id) <= _MAX_CHARS:
        message = f"Invalid 'stream_id': expected a string of 1 to {_MAX_CHARS} characters."
        raise ApiError("invalid_value", message, param="stream_id")
    return Resume(response_id[:_MAX_CHARS], None if after is None else int(after), stream_id)
