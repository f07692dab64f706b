"""One route of the API, as a value: what the router routes and the OpenAPI document declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

__all__ = [
    "ALWAYS",
    "AUTH_ERRORS",
    "CANCEL_AFTER",
    "IDEMPOTENCY_KEY",
    "SUBMIT_ERRORS",
    "Good",
    "RouteSpec",
    "header",
    "query",
]

AUTH_ERRORS: Final = (
    "missing_credentials",
    "invalid_api_key",
    "expired_api_key",
    "revoked_api_key",
    "invalid_token",
    "expired_token",
)
ALWAYS: Final = ("internal_error",)
SUBMIT_ERRORS: Final = (
    *AUTH_ERRORS,
    "malformed_json",
    "body_stalled",
    "body_too_large",
    "unsupported_media_type",
    "invalid_parameter",
    "idempotency_key_reused",
    "rate_limit_exceeded",
    "tenant_backlog_full",
    "backlog_full",
    "deadline_unreachable",
    "gateway_busy",
    "broker_busy",
    "acceptance_unknown",
    "blobs_unavailable",
    "table_unavailable",
    *ALWAYS,
)
"""What may keep any job out, whichever surface it comes through."""


def query(name: str, about: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter."""
    return {"name": name, "in": "query", "description": about, "schema": schema}


def header(name: str, about: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """A request header."""
    return {
        "name": name,
        "in": "header",
        "description": about,
        "schema": schema or {"type": "string"},
    }


IDEMPOTENCY_KEY: Final = header(
    "Idempotency-Key",
    "The same key with the same body is the same job, for 24 hours; quoted or bare.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
)
CANCEL_AFTER: Final = header(
    "Cancel-After",
    "Longest time that the job may take in all, from `1s` to `7d`; a plain number is seconds. One "
    "that runs then is cancelled, tokens used are booked; one that was not started expires, free.",
    {"type": "string", "pattern": "^[0-9]{1,9}(\\.[0-9]{1,9})?(ms|s|m|h|d)?$"},
)


@dataclass(frozen=True, slots=True)
class Good:
    """A success: status, meaning, what comes back (`None`: the output, or no JSON), headers.

    `also_streams`: asked to, it comes as server-sent events instead.
    """

    status: int
    about: str
    model: type[BaseModel] | None
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()
    also_streams: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSpec:
    """One route: where, who handles it (a method of `Endpoints`), and what it answers."""

    method: str
    path: str
    handler: str
    summary: str
    about: str
    good: tuple[Good, ...]
    errors: tuple[str, ...]
    parameters: tuple[dict[str, Any], ...] = ()
    body: type[BaseModel] | None = None
    body_type: str = "application/json"
