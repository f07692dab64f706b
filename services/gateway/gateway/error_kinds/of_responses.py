"""Errors of responses and conversations."""

from __future__ import annotations

from typing import Final

from gateway.error_kinds.kind import INVALID, ErrorKind

__all__ = ["OF_RESPONSES"]

OF_RESPONSES: Final = (
    ErrorKind(
        "response_not_found",
        404,
        INVALID,
        "No such response",
        "Check the id. Responses with `store: false`, deleted ones, and those beyond the retention "
        "time are not found.",
    ),
    ErrorKind(
        "previous_response_not_found",
        400,
        INVALID,
        "The previous response is not kept",
        "Send what was said before as input, or name a response that is stored.",
    ),
    ErrorKind(
        "previous_response_unusable",
        400,
        INVALID,
        "Nothing can go on from the previous response",
        "Wait until it is completed; of one that failed, go on from the response before it.",
    ),
    ErrorKind(
        "item_not_found",
        404,
        INVALID,
        "An item that is only named is not kept",
        "Send the item itself instead of its id.",
    ),
    ErrorKind(
        "response_not_cancellable",
        400,
        INVALID,
        "The response does not run in the background",
        "Create it with `background: true` to be able to cancel it.",
    ),
    ErrorKind(
        "stream_position_gone",
        400,
        INVALID,
        "The stream cannot go on from there",
        "Follow it without `starting_after`, or get the response without `stream`.",
    ),
)
