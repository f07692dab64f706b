"""What a request's headers and query say, strictly read; refusals name the parameter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from penstock_contracts.events import JobStatus, Position
from penstock_kit.durations import read_duration
from starlette.requests import Request

from gateway.errors import ApiError
from gateway.http import named_headers
from gateway.models import MAX_DEADLINE_S
from gateway.status import PageQuery

__all__ = [
    "asked_position",
    "cancel_after",
    "check_content_type",
    "idempotency_key",
    "page_query",
]

_JSON_TYPE = re.compile(
    r"^application/(?:json|[a-z0-9.+-]+\+json)\s*(?:;\s*charset=\"?utf-8\"?\s*)?$", re.IGNORECASE
)
_KEY = re.compile(r"^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$")
_SHORTEST_LIFE = timedelta(seconds=1)
"""Less than most calls take: who asks for less means another unit."""
_LONGEST_LIFE = timedelta(seconds=MAX_DEADLINE_S)
_MAX_PAGE = 100
_MAX_WORD_CHARS = 256
_LIMIT = re.compile(r"^[1-9][0-9]{0,2}$")


def check_content_type(value: str | None) -> None:
    """Refuse what is not JSON in UTF-8.

    Raises:
        ApiError: unsupported_media_type.
    """
    if value is None or _JSON_TYPE.match(value.strip()) is None:
        message = "the body must be JSON in UTF-8; send Content-Type: application/json"
        raise ApiError(
            "unsupported_media_type", message, headers={"accept-post": "application/json"}
        )


def idempotency_key(value: str | None) -> str | None:
    """The key, quoted or bare; None if there is none.

    Raises:
        ApiError: invalid_parameter.
    """
    if value is None:
        return None
    key = value.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if _KEY.match(key) is None:
        message = "Idempotency-Key: 1 to 255 printable ASCII characters, quoted or bare"
        raise ApiError("invalid_parameter", message, param="Idempotency-Key")
    return key


def cancel_after(value: str | None) -> timedelta | None:
    """How long the job may take in all; None: as long as it needs.

    Raises:
        ApiError: invalid_value.
    """
    if value is None:
        return None
    duration = read_duration(value)
    if duration is None or not _SHORTEST_LIFE <= duration <= _LONGEST_LIFE:
        message = "Cancel-After: give a duration from 1s to 7d, for example 90, 30s, 1m or 2h"
        raise ApiError("invalid_value", message, param="Cancel-After")
    return duration


def asked_position(request: Request) -> Position | None:
    """Where a stream is to go on: `starting_after`, else `Last-Event-ID`.

    Raises:
        ApiError: invalid_parameter.
    """
    name, text = "starting_after", request.query_params.get("starting_after")
    if text is None:
        name, text = "Last-Event-ID", named_headers(request.scope).get("last-event-id")
    if not text:
        return None
    try:
        return Position.parse(text)
    except ValueError:
        message = f"{name}: give attempt-seq as in the stream's ids, for example 1-17"
        raise ApiError("invalid_parameter", message, param=name) from None


def page_query(params: Mapping[str, Any]) -> PageQuery:
    """What a listing is asked for.

    Raises:
        ApiError: invalid_parameter.
    """
    known = {"status", "task", "user", "after", "limit"}
    for name in params:
        if name not in known:
            message = f"unknown query parameter; known ones: {', '.join(sorted(known))}"
            raise ApiError("invalid_parameter", message, param=name[:64])
    return PageQuery(
        status=_status(params.get("status")),
        task=_word("task", params.get("task")),
        user=_word("user", params.get("user")),
        after=_word("after", params.get("after")),
        limit=_limit(params.get("limit")),
    )


def _status(text: str | None) -> JobStatus | None:
    if text is None:
        return None
    try:
        return JobStatus(text)
    except ValueError:
        message = f"status: one of {', '.join(JobStatus)}"
        raise ApiError("invalid_parameter", message, param="status") from None


def _word(name: str, text: str | None) -> str | None:
    if text is None or (0 < len(text) <= _MAX_WORD_CHARS and text.isascii() and text.isprintable()):
        return text
    message = f"{name}: 1 to 256 printable ASCII characters"
    raise ApiError("invalid_parameter", message, param=name)


def _limit(text: str | None) -> int:
    if text is None:
        return 20
    if _LIMIT.match(text) is None or int(text) > _MAX_PAGE:
        message = f"limit: a whole number from 1 to {_MAX_PAGE}"
        raise ApiError("invalid_parameter", message, param="limit")
    return int(text)
