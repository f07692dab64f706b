"""The native API as a table."""

from __future__ import annotations

from typing import Final

from penstock_contracts.events import JobStatus

from gateway.models import JobBody, JobListBody, SubmitDocument, TicketBody
from gateway.route_specs import (
    ALWAYS,
    AUTH_ERRORS,
    CANCEL_AFTER,
    IDEMPOTENCY_KEY,
    SUBMIT_ERRORS,
    Good,
    RouteSpec,
    header,
    query,
)

__all__ = ["JOBS_SURFACE"]

_ONE_JOB: Final = (*AUTH_ERRORS, "job_not_found", "table_unavailable", *ALWAYS)

_JOB: Final = {
    "name": "job",
    "in": "path",
    "required": True,
    "description": "Id of the job.",
    "schema": {"type": "string", "pattern": "^job_[0-9a-f]{32}([0-9a-f]{10})?$"},
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


JOBS_SURFACE: Final = (
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
            IDEMPOTENCY_KEY,
            CANCEL_AFTER,
            header("Prefer", "`wait=N` (seconds, 1 to 60); `respond-async` alone: answer at once."),
            header("traceparent", "W3C trace context, passed on to the worker."),
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
                "The log has the job; with a repeated key it is told as it stands.",
                JobBody,
                headers=(*_SUBMITTED, "openai-poll-after-ms"),
            ),
        ),
        errors=(
            *SUBMIT_ERRORS,
            "invalid_value",
            "invalid_request",
            "unknown_task",
            "unknown_model",
            "charge_not_allowed",
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
            query(
                "status",
                "Only jobs of this status.",
                {"type": "string", "enum": [status.value for status in JobStatus]},
            ),
            query("task", "Only jobs of this task.", _WORD),
            query("user", "Only jobs of this user.", _WORD),
            query("after", "`next_cursor` of the page before.", _WORD),
            query(
                "limit",
                "Jobs per page.",
                {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
            ),
        ),
        good=(Good(200, "A page of jobs.", JobListBody, headers=("Link",)),),
        errors=(*AUTH_ERRORS, "invalid_parameter", "table_unavailable", *ALWAYS),
    ),
    RouteSpec(
        method="GET",
        path="/v1/jobs/{job}",
        handler="get_job",
        summary="Look at a job",
        about="A job that was accepted a moment ago is `queued` before any table knows it.",
        parameters=(_JOB,),
        good=(
            Good(
                200,
                "The job; with its output once completed.",
                JobBody,
                headers=("openai-poll-after-ms",),
            ),
        ),
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
            query("starting_after", "Last position that the reader has; exclusive.", _POSITION),
            header("Last-Event-ID", "The same, as SSE readers send it.", _POSITION),
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
        errors=(*AUTH_ERRORS, "table_unavailable", *ALWAYS),
    ),
)
