"""The registry of every error that the API can answer: code, status, family, what to do about it.

`docs/errors.md` is rendered from `REGISTRY`; a test fails when it drifts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["REGISTRY", "ErrorKind"]

_INVALID: Final = "invalid_request_error"
_AUTH: Final = "authentication_error"
_RATE: Final = "rate_limit_error"
_SERVER: Final = "server_error"
_JOB: Final = "job_error"


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One kind of error answer.

    Attributes:
        code: stable snake-case name in `error.code` and `type`.
        status: HTTP status.
        family: `error.type`, as OpenAI names it.
        should_retry: goes out as `x-should-retry`; SDKs obey it.
        remedy: what the caller can do; for the documentation.
    """

    code: str
    status: int
    family: str
    title: str
    remedy: str
    should_retry: bool = False


_KINDS: Final = (
    ErrorKind(
        "malformed_json",
        400,
        _INVALID,
        "The body is not acceptable JSON",
        "Send one JSON object in UTF-8, without NaN or Infinity, nested at most 32 levels deep.",
    ),
    ErrorKind(
        "missing_credentials",
        401,
        _AUTH,
        "No credentials",
        "Send `Authorization: Bearer <API key or JWT>`.",
    ),
    ErrorKind(
        "invalid_api_key",
        401,
        _AUTH,
        "The API key is not known",
        "Check the key; make a new one with `penstock token create`.",
    ),
    ErrorKind(
        "expired_api_key",
        401,
        _AUTH,
        "The API key has expired",
        "Make a new key with `penstock token create`.",
    ),
    ErrorKind(
        "revoked_api_key",
        401,
        _AUTH,
        "The API key was revoked",
        "Make a new key with `penstock token create`.",
    ),
    ErrorKind(
        "invalid_token",
        401,
        _AUTH,
        "The token is not acceptable",
        "Get a token from an issuer that this deployment trusts, with exp, aud, iss and sub.",
    ),
    ErrorKind("expired_token", 401, _AUTH, "The token has expired", "Get a fresh token."),
    ErrorKind("not_found", 404, _INVALID, "No such address", "See /docs for all addresses."),
    ErrorKind(
        "job_not_found",
        404,
        _INVALID,
        "No such job",
        "Check the id. Jobs of other users and jobs beyond the retention time are not found.",
    ),
    ErrorKind(
        "method_not_allowed",
        405,
        _INVALID,
        "The address does not take this method",
        "Use a method that the `Allow` header names.",
    ),
    ErrorKind(
        "not_completed",
        409,
        _JOB,
        "The job has no result yet",
        "Ask again later, follow `/events`, or submit with `Prefer: wait=N`.",
        should_retry=True,
    ),
    ErrorKind(
        "job_outcome_unknown",
        409,
        _JOB,
        "Nobody knows how the job ended",
        "A worker died in the middle of a call that may be charged at most once. "
        "Submit again if a second charge is acceptable.",
    ),
    ErrorKind(
        "result_gone",
        410,
        _JOB,
        "The result is no longer stored",
        "Submit the job again.",
    ),
    ErrorKind(
        "job_cancelled",
        410,
        _JOB,
        "The job was cancelled",
        "Submit it again if you still want it.",
    ),
    ErrorKind(
        "job_expired",
        410,
        _JOB,
        "The job was not started before its deadline",
        "Nothing was charged. Submit again with a later deadline.",
    ),
    ErrorKind(
        "body_too_large",
        413,
        _INVALID,
        "The body is too large",
        "Send less, or ingest documents in several jobs.",
    ),
    ErrorKind(
        "unsupported_media_type",
        415,
        _INVALID,
        "The content type is not accepted",
        "Send `Content-Type: application/json`.",
    ),
    ErrorKind(
        "invalid_request",
        422,
        _INVALID,
        "The request breaks the schema",
        "Correct the field that `error.param` names; unknown fields are refused.",
    ),
    ErrorKind(
        "invalid_parameter",
        422,
        _INVALID,
        "A query parameter or header is not acceptable",
        "Correct the parameter that `error.param` names.",
    ),
    ErrorKind(
        "unknown_task",
        422,
        _INVALID,
        "The task is not known here",
        "Use one of the tasks that the message lists.",
    ),
    ErrorKind(
        "unknown_model",
        422,
        _INVALID,
        "The model is not known here",
        "Use one of the models that the message lists, or leave `model` out.",
    ),
    ErrorKind(
        "charge_not_allowed",
        422,
        _INVALID,
        "The task cannot be charged at most once",
        "Leave `charge` out.",
    ),
    ErrorKind(
        "idempotency_key_reused",
        422,
        _INVALID,
        "The Idempotency-Key belongs to another body",
        "Use a fresh key for every new request; repeat a key only with the same body.",
    ),
    ErrorKind(
        "job_failed",
        424,
        _JOB,
        "The job failed",
        "`error` tells why, in the words of the job; submit again if that may help.",
    ),
    ErrorKind(
        "rate_limit_exceeded",
        429,
        _RATE,
        "A limit of requests is used up",
        "Send the request again after `Retry-After`; `RateLimit` shows how each limit stands.",
        should_retry=True,
    ),
    ErrorKind(
        "tenant_backlog_full",
        429,
        _RATE,
        "Too many jobs of this tenant are unfinished",
        "Wait until some have ended, or cancel some; then send the request again.",
        should_retry=True,
    ),
    ErrorKind(
        "internal_error",
        500,
        _SERVER,
        "We made a mistake",
        "Report the `x-request-id`; the request may be sent again with an Idempotency-Key.",
        should_retry=True,
    ),
    ErrorKind(
        "backlog_full",
        503,
        _SERVER,
        "Too many jobs are waiting in all",
        "Nothing was accepted. Send the request again after `Retry-After`.",
        should_retry=True,
    ),
    ErrorKind(
        "deadline_unreachable",
        503,
        _SERVER,
        "No worker would take the job before its deadline",
        "Nothing was accepted. Send it again after `Retry-After`, or with a later deadline.",
        should_retry=True,
    ),
    ErrorKind(
        "gateway_busy",
        503,
        _SERVER,
        "This gateway holds as many bodies as it may",
        "The body was not read. Send the request again after `Retry-After`.",
        should_retry=True,
    ),
    ErrorKind(
        "broker_busy",
        503,
        _SERVER,
        "The log takes no more jobs at the moment",
        "Nothing was accepted. Send the request again after `Retry-After`.",
        should_retry=True,
    ),
    ErrorKind(
        "acceptance_unknown",
        503,
        _SERVER,
        "The log has not confirmed the job in time",
        "The job may or may not run. Look at the job of the answer's `job` member, or repeat "
        "the request with the same Idempotency-Key: it can never run twice.",
        should_retry=True,
    ),
    ErrorKind(
        "table_unavailable",
        503,
        _SERVER,
        "The job table is away or being rebuilt",
        "Jobs are accepted and run on; looking at them has to wait. Ask again after `Retry-After`.",
        should_retry=True,
    ),
    ErrorKind(
        "blobs_unavailable",
        503,
        _SERVER,
        "The store for large bodies does not answer",
        "Nothing was accepted. Send the request again after `Retry-After`.",
        should_retry=True,
    ),
)
REGISTRY: Final[Mapping[str, ErrorKind]] = {kind.code: kind for kind in _KINDS}
