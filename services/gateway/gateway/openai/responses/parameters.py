"""What the query of a response says, strictly read."""

from __future__ import annotations

import re
from typing import Final

from starlette.datastructures import QueryParams
from starlette.requests import Request

from gateway.errors import ApiError
from gateway.http import named_headers
from gateway.openai.responses.body import Include
from gateway.openai.strict import Body, read_body_as

__all__ = ["asked_number", "asks_for_stream", "check_include"]

_NUMBER: Final = re.compile(r"^[0-9]{1,12}$")
_KNOWN: Final = frozenset(
    {"stream", "starting_after", "include", "include[]", "include_obfuscation"}
)
_WORDS: Final = {"true": True, "false": False}


class _Query(Body):
    """What a query may say as often as it likes."""

    include: list[Include]


def check_include(params: QueryParams) -> None:
    """Look at what is to be included, as in a body: what there is comes anyway.

    Raises:
        ApiError: invalid_value, unsupported_value.
    """
    asked = [*params.getlist("include"), *params.getlist("include[]")]
    read_body_as(_Query, {"include": asked})


def asks_for_stream(params: QueryParams) -> bool:
    """Whether the response is to be followed.

    Raises:
        ApiError: unknown_parameter, invalid_value, unsupported_value.
    """
    for name in params:
        if name not in _KNOWN:
            text = f"Unknown parameter: '{name[:64]}'."
            raise ApiError("unknown_parameter", text, param=name[:64])
    check_include(params)
    if params.get("include_obfuscation", "false") != "false":
        text = (
            "Unsupported value: 'include_obfuscation' is not supported here: nothing pads events."
        )
        raise ApiError("unsupported_value", text, param="include_obfuscation")
    is_streamed = _WORDS.get(params.get("stream", "false"))
    if is_streamed is None:
        text = "Invalid 'stream': expected true or false."
        raise ApiError("invalid_value", text, param="stream")
    if "starting_after" in params and not is_streamed:
        text = "'starting_after' is only allowed when 'stream' is enabled."
        raise ApiError("invalid_value", text, param="starting_after")
    return is_streamed


def asked_number(request: Request) -> int | None:
    """The last event that the reader has: `starting_after`, else `Last-Event-ID`.

    Raises:
        ApiError: invalid_value.
    """
    name, text = "starting_after", request.query_params.get("starting_after")
    if text is None:
        name, text = "Last-Event-ID", named_headers(request.scope).get("last-event-id")
    if not text:
        return None
    if _NUMBER.match(text) is None:
        message = f"Invalid '{name}': expected the sequence_number of an event."
        raise ApiError("invalid_value", message, param=name)
    return int(text)
