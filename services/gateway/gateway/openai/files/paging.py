"""What a listing of files or batches is asked for, strictly read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from penstock_kit.batches.shelf import PageAsk
from starlette.requests import Request

from gateway.errors import ApiError
from gateway.http import named_headers

__all__ = ["page_ask", "purpose_of", "starting_after"]

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_ID = re.compile(r"[\x21-\x7e]{1,128}")


def page_ask(
    params: Mapping[str, Any], *, known: Sequence[str], most: int, default: int
) -> PageAsk:
    """The page that a query asks for.

    Raises:
        ApiError: unknown_parameter, invalid_type, invalid_value, integer_below_min_value,
            integer_above_max_value.
    """
    for name in params:
        if name not in known:
            shown = name[:64]
            raise ApiError("unknown_parameter", f"Unknown parameter: '{shown}'.", param=shown)
    order = params.get("order", "desc")
    if order not in ("asc", "desc"):
        message = f"Invalid value: '{order[:64]}'. Supported values are: 'asc' and 'desc'."
        raise ApiError("invalid_value", message, param="order")
    after = params.get("after")
    if after is not None and _ID.fullmatch(after) is None:
        message = "Invalid 'after': give the last id of the page before."
        raise ApiError("invalid_value", message, param="after")
    return PageAsk(
        after=after,
        limit=_limit(params.get("limit"), most=most, default=default),
        is_ascending=order == "asc",
    )


def purpose_of(params: Mapping[str, Any]) -> str | None:
    """Which purpose a listing is about.

    Raises:
        ApiError: invalid_value.
    """
    purpose: str | None = params.get("purpose")
    if purpose in (None, "batch", "batch_output"):
        return purpose
    message = f"Invalid value: '{purpose[:64]}'. Supported values are: 'batch' and 'batch_output'."
    raise ApiError("invalid_value", message, param="purpose")


def starting_after(request: Request) -> int:
    """Where a stream of events goes on: `starting_after`, else `Last-Event-ID`, else -1.

    Raises:
        ApiError: invalid_parameter.
    """
    name, text = "starting_after", request.query_params.get("starting_after")
    if text is None:
        name, text = "Last-Event-ID", named_headers(request.scope).get("last-event-id")
    if not text:
        return -1
    if _NUMBER.fullmatch(text) is None:
        message = f"{name}: give the number of the last event that you have, for example 17"
        raise ApiError("invalid_parameter", message, param=name)
    return int(text)


def _limit(text: str | None, *, most: int, default: int) -> int:
    if text is None:
        return default
    if _NUMBER.fullmatch(text) is None:
        message = "Invalid type for 'limit': expected an integer, but got a string instead."
        raise ApiError("invalid_type", message, param="limit")
    limit = int(text)
    if limit < 1:
        message = (
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, "
            f"but got {limit} instead."
        )
        raise ApiError("integer_below_min_value", message, param="limit")
    if limit > most:
        message = (
            f"Invalid 'limit': integer above maximum value. Expected a value <= {most}, "
            f"but got {limit} instead."
        )
        raise ApiError("integer_above_max_value", message, param="limit")
    return limit
