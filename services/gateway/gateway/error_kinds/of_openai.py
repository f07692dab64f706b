"""Errors of bodies and answers as OpenAI gives them."""

from __future__ import annotations

from typing import Final

from gateway.error_kinds.kind import INVALID, RATE, REQUESTS, SERVER, ErrorKind, wrong_body

__all__ = ["OF_OPENAI"]

OF_OPENAI: Final = (
    wrong_body(
        "missing_required_parameter",
        "A required field is missing",
        "Add the field that `error.param` names.",
    ),
    wrong_body(
        "unknown_parameter",
        "There is no such field",
        "Leave out the field that `error.param` names, or correct its name.",
    ),
    wrong_body(
        "unsupported_parameter",
        "OpenAI has this field, this deployment does not",
        "Leave it out; the message says why, docs/openai.md lists all of them.",
    ),
    wrong_body(
        "unsupported_value",
        "OpenAI takes this value, this deployment does not",
        "Use another value; the message says why.",
    ),
    wrong_body(
        "invalid_type",
        "A field has the wrong type",
        "Send the type that the message asks for.",
    ),
    wrong_body(
        "invalid_value",
        "A field has a value that makes no sense",
        "Use a value that the message allows.",
    ),
    ErrorKind(
        "invalid_combination",
        400,
        INVALID,
        "Fields of the request contradict each other",
        "Correct the field that `error.param` names; `error.code` is null, as at OpenAI.",
        has_code=False,
    ),
    wrong_body(
        "mutually_exclusive_parameters",
        "Two fields exclude each other",
        "Send only one of the fields that the message names.",
    ),
    wrong_body(
        "invalid_function_parameters",
        "The parameters of a function are no JSON Schema that a model could follow",
        "Correct the schema as the message says, or leave `strict` out.",
    ),
    wrong_body(
        "invalid_json_schema",
        "The schema of the answer is none that strict mode takes",
        "Correct the schema as the message says, or leave `strict` out.",
    ),
    wrong_body("integer_below_min_value", "A whole number is too small", "Send a larger one."),
    wrong_body("integer_above_max_value", "A whole number is too large", "Send a smaller one."),
    wrong_body("decimal_below_min_value", "A number is too small", "Send a larger one."),
    wrong_body("decimal_above_max_value", "A number is too large", "Send a smaller one."),
    wrong_body("empty_array", "An array is empty", "Put at least one item into it."),
    wrong_body("array_below_min_length", "An array is too short", "Send more items."),
    wrong_body("array_above_max_length", "An array is too long", "Send fewer items."),
    wrong_body("empty_string", "A string is empty", "Send at least one character."),
    wrong_body("string_below_min_length", "A string is too short", "Send a longer one."),
    wrong_body("string_above_max_length", "A string is too long", "Send a shorter one."),
    wrong_body(
        "object_above_max_properties", "An object has too many members", "Send fewer members."
    ),
    ErrorKind(
        "model_not_found",
        404,
        INVALID,
        "The model is not known here",
        "`GET /v1/models` lists the models.",
    ),
    ErrorKind(
        "job_refused",
        400,
        INVALID,
        "The worker or the provider refused the request for good",
        "`error` tells why; correct the request.",
    ),
    ErrorKind(
        "job_rate_limited",
        429,
        RATE,
        "The provider had no room, also after all retries",
        "Send the request again later.",
        should_retry=True,
    ),
    ErrorKind(
        "job_gave_up",
        500,
        SERVER,
        "The job failed, also after all retries",
        "`error` tells why; the job's dead letter has the details.",
    ),
    ErrorKind(
        "still_running",
        504,
        SERVER,
        "The answer is not there yet",
        "The job runs on. Look at the job that `x-penstock-job` names, or send the request again "
        "with its Idempotency-Key: it goes on where it is.",
    ),
    ErrorKind(
        "gateway_draining",
        503,
        SERVER,
        "This gateway is being stopped",
        "Send the request again; with an Idempotency-Key it goes on where it is.",
        should_retry=True,
    ),
    ErrorKind(
        "origin_not_allowed",
        403,
        INVALID,
        "Pages of this origin may not connect",
        "The operator lists allowed origins in PENSTOCK_GATEWAY__SOCKET_ORIGINS.",
    ),
    ErrorKind(
        "too_many_sockets",
        429,
        REQUESTS,
        "Too many sockets are open",
        "Share one socket between streams, or come again after `Retry-After`.",
        should_retry=True,
    ),
    ErrorKind(
        "too_many_streams",
        429,
        REQUESTS,
        "Too many streams run on the socket",
        "Wait for one to end, or connect another socket.",
        should_retry=True,
    ),
    ErrorKind(
        "conversation_not_found",
        404,
        INVALID,
        "No such conversation",
        "Check the id; deleted ones, those of other users, and those that were silent for longer "
        "than the retention time are not found.",
    ),
    ErrorKind(
        "conversation_locked",
        409,
        INVALID,
        "Something else runs in the conversation",
        "Nothing was changed. Send the request again after `Retry-After`.",
        should_retry=True,
    ),
    ErrorKind(
        "moderation_refused",
        400,
        INVALID,
        "The moderation upstream refuses the request",
        "Send less, or another model; the operator knows what the upstream takes.",
    ),
    ErrorKind(
        "moderation_unavailable",
        503,
        SERVER,
        "The moderation upstream cannot judge now",
        "Send the request again after `Retry-After`.",
        should_retry=True,
    ),
    ErrorKind(
        "stream_reset",
        500,
        SERVER,
        "A retry of the job gave another text than what was sent already",
        "Send the request again with its Idempotency-Key: it brings the whole answer.",
        should_retry=True,
    ),
)
