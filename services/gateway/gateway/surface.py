"""The API as a table: what the router routes and what the OpenAPI document declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from penstock_contracts.events import JobStatus
from pydantic import BaseModel

from gateway.models import JobBody, JobListBody, SubmitDocument, TicketBody

__all__ = ["SURFACE", "Good", "RouteSpec"]

_AUTH: Final = (
    "missing_credentials",
    "invalid_api_key",
    "expired_api_key",
    "revoked_api_key",
    "invalid_token",
    "expired_token",
)
_ALWAYS: Final = ("internal_error",)
_ONE_JOB: Final = (*_AUTH, "job_not_found", "table_unavailable", *_ALWAYS)

_JOB: Final = {
    "name": "job",
    "in": "path",
    "required": True,
    "description": "Id of the job.",
    "schema": {"type": "string", "pattern": "^job_[0-9a-f]{32}([0-9a-f]{10})?$"},
}


def _query(name: str, about: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": about, "schema": schema}


def _header(name: str, about: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "description": about,
        "schema": schema or {"type": "string"},
    }


_SUBMITTED: Final = (
    "Location",
    "Idempotent-Replayed",
    "Preference-Applied",
    "RateLimit-Policy",
    "RateLimit",
)
_WORD: Final = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[\\x20-\\x7e]+$"}
_POSITION: Final = {"type": "string", "pattern": "^[0-9]{1,10}-[0-9]{1,10}$"}


@dataclass(frozen=True, slots=True)
class Good:
    """A success: status, meaning, what comes back (`None`: the output, or no JSON), headers."""

    status: int
    about: str
    model: type[BaseModel] | None
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()


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


SURFACE: Final = (
    RouteSpec(
        method="POST",
        path="/v1/jobs",
        handler="submit_job",
        summary="Submit a job",
        about=(
            "Checks the job, writes it to the log and answers once the log has it. "
            "With `Prefer: wait=N` the answer waits for the end of the job, at most N seconds."
        ),
        body=SubmitDocument,
        parameters=(
            _header(
                "Idempotency-Key",
                "The same key with the same body is the same job, for 24 hours; quoted or bare.",
                {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
            ),
            _header("Prefer", "`wait=N` (seconds, 1 to 60) or `respond-async`."),
            _header("traceparent", "W3C trace context, passed on to the worker."),
        ),
        good=(
            Good(
                200,
                "The job ended while the caller waited; see `status`.",
                JobBody,
                headers=_SUBMITTED,
            ),
            Good(
                202,
                "The log has the job.",
                JobBody,
                headers=_SUBMITTED,
            ),
        ),
        errors=(
            *_AUTH,
            "malformed_json",
            "body_too_large",
            "unsupported_media_type",
            "invalid_request",
            "invalid_parameter",
            "unknown_task",
            "unknown_model",
            "charge_not_allowed",
            "idempotency_key_reused",
            "rate_limit_exceeded",
            "tenant_backlog_full",
            "backlog_full",
            "deadline_unreachable",
            "gateway_busy",
            "broker_busy",
            "acceptance_unknown",
            "blobs_unavailable",
            *_ALWAYS,
        ),
    ),
    RouteSpec(
        method="GET",
        path="/v1/jobs",
        handler="list_jobs",
        summary="List jobs",
        about=(
            "Newest first, outputs left out. A user's key sees that user's jobs, "
            "a tenant's key all of the tenant."
        ),
        parameters=(
            _query(
                "status",
                "Only jobs of this status.",
                {"type": "string", "enum": [status.value for status in JobStatus]},
            ),
            _query("task", "Only jobs of this task.", _WORD),
            _query("user", "Only jobs of this user.", _WORD),
            _query("after", "`next_cursor` of the page before.", _WORD),
            _query(
                "limit",
                "Jobs per page.",
                {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
            ),
        ),
        good=(Good(200, "A page of jobs.", JobListBody, headers=("Link",)),),
        errors=(*_AUTH, "invalid_parameter", "table_unavailable", *_ALWAYS),
    ),
    RouteSpec(
        method="GET",
        path="/v1/jobs/{job}",
        handler="get_job",
        summary="Look at a job",
        about="A job that was accepted a moment ago is `queued` before any table knows it.",
        parameters=(_JOB,),
        good=(Good(200, "The job; with its output once completed.", JobBody),),
        errors=_ONE_JOB,
    ),
    RouteSpec(
        method="GET",
        path="/v1/jobs/{job}/result",
        handler="get_result",
        summary="Get the result",
        about=(
            "The output of a completed job, whatever its size. A job that ended otherwise "
            "answers with its error: 424 failed, 410 cancelled or expired, 409 not over or "
            "outcome unknown."
        ),
        parameters=(_JOB,),
        good=(Good(200, "The output; `kind` tells which shape it has.", None),),
        errors=(
            *_ONE_JOB,
            "not_completed",
            "job_outcome_unknown",
            "job_cancelled",
            "job_expired",
            "result_gone",
            "job_failed",
            "blobs_unavailable",
        ),
    ),
    RouteSpec(
        method="GET",
        path="/v1/jobs/{job}/events",
        handler="follow_events",
        summary="Follow a job",
        about=(
            "Server-sent events: `event` is the type, `id` is `attempt-seq`, `data` the event's "
            "JSON. Begins with a `snapshot` of what is known, or after the given position where "
            "nothing in between is missing; ends after the terminal event. A comment line keeps "
            "silent streams alive. A stream that ends earlier is resumed with `Last-Event-ID`."
        ),
        parameters=(
            _JOB,
            _query("starting_after", "Last position that the reader has; exclusive.", _POSITION),
            _header("Last-Event-ID", "The same, as SSE readers send it.", _POSITION),
        ),
        good=(Good(200, "The stream.", None, media_type="text/event-stream"),),
        errors=(*_ONE_JOB, "invalid_parameter"),
    ),
    RouteSpec(
        method="POST",
        path="/v1/jobs/{job}/cancel",
        handler="cancel_job",
        summary="Cancel a job",
        about="Free while queued; tokens used are booked. A job that is over stays as it is.",
        parameters=(_JOB,),
        good=(
            Good(200, "The job was over already.", JobBody),
            Good(202, "Every worker has been told; the job ends shortly.", JobBody),
        ),
        errors=(*_ONE_JOB, "broker_busy"),
    ),
    RouteSpec(
        method="POST",
        path="/v1/socket-tickets",
        handler="issue_ticket",
        summary="Get a socket ticket",
        about="For browsers, which cannot set headers. A ticket opens one socket in 30 seconds.",
        good=(Good(201, "The ticket.", TicketBody),),
        errors=(*_AUTH, "table_unavailable", *_ALWAYS),
    ),
)
