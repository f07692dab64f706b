"""The registry of every error that the API can answer: code, status, family, what to do about it.

`docs/errors.md` is rendered from `REGISTRY`; a test fails when it drifts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["REGISTRY", "ErrorKind"]

_INVALID: Final = "invalid_request_error"
_AUTH: Final = _INVALID
"""OpenAI calls a wrong key a wrong request, and clients tell by the status."""
_PERMISSION: Final = "permission_error"
_RATE: Final = "rate_limit_error"
_REQUESTS: Final = "requests"
"""What OpenAI names as the thing that there were too many of."""
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
    ErrorKind(
        "insufficient_scope",
        403,
        _PERMISSION,
        "The credential may not do this",
        "Use a key of scope tenant or admin; `penstock token create --scope tenant` makes one.",
    ),
    ErrorKind(
        "webhook_endpoint_not_found",
        404,
        _INVALID,
        "No such webhook endpoint",
        "Check the id; `GET /v1/webhook_endpoints` lists all of the tenant.",
    ),
    ErrorKind(
        "too_many_webhook_endpoints",
        400,
        _INVALID,
        "The tenant has as many webhook endpoints as it may",
        "Delete one that is not needed, or let one endpoint take more events.",
    ),
    ErrorKind(
        "webhook_endpoint_disabled",
        400,
        _INVALID,
        "Nothing is delivered to the webhook endpoint",
        'Enable it with `PATCH {"enabled": true}`; `suspended` tells why it was stopped.',
    ),
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
        _REQUESTS,
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


def _wrong_body(code: str, title: str, remedy: str) -> ErrorKind:
    return ErrorKind(code, 400, _INVALID, title, remedy)


_OPENAI: Final = (
    _wrong_body(
        "missing_required_parameter",
        "A required field is missing",
        "Add the field that `error.param` names.",
    ),
    _wrong_body(
        "unknown_parameter",
        "There is no such field",
        "Leave out the field that `error.param` names, or correct its name.",
    ),
    _wrong_body(
        "unsupported_parameter",
        "OpenAI has this field, this deployment does not",
        "Leave it out; the message says why, docs/openai.md lists all of them.",
    ),
    _wrong_body(
        "unsupported_value",
        "OpenAI takes this value, this deployment does not",
        "Use another value; the message says why.",
    ),
    _wrong_body(
        "invalid_type",
        "A field has the wrong type",
        "Send the type that the message asks for.",
    ),
    _wrong_body(
        "invalid_value",
        "A field has a value that makes no sense",
        "Use a value that the message allows.",
    ),
    _wrong_body("integer_below_min_value", "A whole number is too small", "Send a larger one."),
    _wrong_body("integer_above_max_value", "A whole number is too large", "Send a smaller one."),
    _wrong_body("decimal_below_min_value", "A number is too small", "Send a larger one."),
    _wrong_body("decimal_above_max_value", "A number is too large", "Send a smaller one."),
    _wrong_body("empty_array", "An array is empty", "Put at least one item into it."),
    _wrong_body("array_below_min_length", "An array is too short", "Send more items."),
    _wrong_body("array_above_max_length", "An array is too long", "Send fewer items."),
    _wrong_body("empty_string", "A string is empty", "Send at least one character."),
    _wrong_body("string_below_min_length", "A string is too short", "Send a longer one."),
    _wrong_body("string_above_max_length", "A string is too long", "Send a shorter one."),
    _wrong_body(
        "object_above_max_properties", "An object has too many members", "Send fewer members."
    ),
    ErrorKind(
        "model_not_found",
        404,
        _INVALID,
        "The model is not known here",
        "`GET /v1/models` lists the models.",
    ),
    ErrorKind(
        "job_refused",
        400,
        _INVALID,
        "The worker or the provider refused the request for good",
        "`error` tells why; correct the request.",
    ),
    ErrorKind(
        "job_rate_limited",
        429,
        _RATE,
        "The provider had no room, also after all retries",
        "Send the request again later.",
        should_retry=True,
    ),
    ErrorKind(
        "job_gave_up",
        500,
        _SERVER,
        "The job failed, also after all retries",
        "`error` tells why; the job's dead letter has the details.",
    ),
    ErrorKind(
        "still_running",
        504,
        _SERVER,
        "The answer is not there yet",
        "The job runs on. Look at the job that `x-penstock-job` names, or send the request again "
        "with its Idempotency-Key: it goes on where it is.",
    ),
    ErrorKind(
        "gateway_draining",
        503,
        _SERVER,
        "This gateway is being stopped",
        "Send the request again; with an Idempotency-Key it goes on where it is.",
        should_retry=True,
    ),
    ErrorKind(
        "origin_not_allowed",
        403,
        _INVALID,
        "Pages of this origin may not connect",
        "The operator lists allowed origins in PENSTOCK_GATEWAY__SOCKET_ORIGINS.",
    ),
    ErrorKind(
        "too_many_sockets",
        429,
        _REQUESTS,
        "Too many sockets are open",
        "Share one socket between streams, or come again after `Retry-After`.",
        should_retry=True,
    ),
    ErrorKind(
        "too_many_streams",
        429,
        _REQUESTS,
        "Too many streams run on the socket",
        "Wait for one to end, or connect another socket.",
        should_retry=True,
    ),
    ErrorKind(
        "conversation_not_found",
        404,
        _INVALID,
        "No such conversation",
        "Check the id; deleted ones, those of other users, and those that were silent for longer "
        "than the retention time are not found.",
    ),
    ErrorKind(
        "conversation_locked",
        409,
        _INVALID,
        "Something else runs in the conversation",
        "Nothing was changed. Send the request again after `Retry-After`.",
        should_retry=True,
    ),
    ErrorKind(
        "moderation_refused",
        400,
        _INVALID,
        "The moderation upstream refuses the request",
        "Send less, or another model; the operator knows what the upstream takes.",
    ),
    ErrorKind(
        "moderation_unavailable",
        503,
        _SERVER,
        "The moderation upstream cannot judge now",
        "Send the request again after `Retry-After`.",
        should_retry=True,
    ),
    ErrorKind(
        "stream_reset",
        500,
        _SERVER,
        "A retry of the job gave another text than what was sent already",
        "Send the request again with its Idempotency-Key: it brings the whole answer.",
        should_retry=True,
    ),
)
_RESPONSES: Final = (
    ErrorKind(
        "response_not_found",
        404,
        _INVALID,
        "No such response",
        "Check the id. Responses with `store: false`, deleted ones, and those beyond the retention "
        "time are not found.",
    ),
    ErrorKind(
        "previous_response_not_found",
        400,
        _INVALID,
        "The previous response is not kept",
        "Send what was said before as input, or name a response that is stored.",
    ),
    ErrorKind(
        "previous_response_unusable",
        400,
        _INVALID,
        "Nothing can go on from the previous response",
        "Wait until it is completed; of one that failed, go on from the response before it.",
    ),
    ErrorKind(
        "item_not_found",
        404,
        _INVALID,
        "An item that is only named is not kept",
        "Send the item itself instead of its id.",
    ),
    ErrorKind(
        "response_not_cancellable",
        400,
        _INVALID,
        "The response does not run in the background",
        "Create it with `background: true` to be able to cancel it.",
    ),
    ErrorKind(
        "stream_position_gone",
        400,
        _INVALID,
        "The stream cannot go on from there",
        "Follow it without `starting_after`, or get the response without `stream`.",
    ),
)
_FILES: Final = (
    _wrong_body(
        "malformed_form",
        "The form cannot be read",
        "Send multipart/form-data with the fields `purpose` and `file`.",
    ),
    _wrong_body(
        "upload_cut",
        "The upload ended before its form did",
        "Nothing is kept. Send the file again.",
    ),
    ErrorKind(
        "upload_stalled",
        408,
        _INVALID,
        "Nothing more of the upload came",
        "Nothing is kept. Send the file again.",
        should_retry=True,
    ),
    ErrorKind(
        "file_not_found",
        404,
        _INVALID,
        "No such file",
        "Check the id. Files of other users, deleted and expired files are not found.",
    ),
    ErrorKind(
        "batch_not_found",
        404,
        _INVALID,
        "No such batch",
        "Check the id. Batches of other users and beyond the retention time are not found.",
    ),
    ErrorKind(
        "batch_is_over",
        409,
        _INVALID,
        "The batch has ended and cannot be cancelled",
        "Look at the batch: its files hold what its lines brought.",
    ),
)
REGISTRY: Final[Mapping[str, ErrorKind]] = {
    kind.code: kind for kind in (*_KINDS, *_OPENAI, *_RESPONSES, *_FILES)
}
