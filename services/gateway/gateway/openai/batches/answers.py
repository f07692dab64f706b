"""Finished lines as they stand in output and error files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from penstock_contracts.batches import BatchUsage
from penstock_contracts.codec import dumps

from gateway.errors import ApiError, problem_body

__all__ = ["ABORTED", "FinishedLine", "aborted", "added", "answered", "refused"]

ABORTED: Final = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "cancelled": ("batch_cancelled", "This request was not executed: the batch was cancelled."),
}
"""Why a batch ended before a line did: code and words of the line's error."""
_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedLine:
    """How a line ended. `code` is None for lines that went well; `text` is its line of a file."""

    number: int
    custom_id: str
    job: str | None
    status_code: int | None
    code: str | None
    text: bytes
    usage: Mapping[str, Any] | None = None


def answered(
    number: int, custom_id: str, *, job: str, body: dict[str, Any], usage: Mapping[str, Any] | None
) -> FinishedLine:
    """A line that went well."""
    response = {"status_code": _OK, "request_id": _request_id(job), "body": body}
    return FinishedLine(
        number=number,
        custom_id=custom_id,
        job=job,
        status_code=_OK,
        code=None,
        text=_text(custom_id, number, job, response, None),
        usage=usage,
    )


def refused(
    number: int,
    custom_id: str,
    *,
    job: str | None,
    error: ApiError,
    endpoint: str,
    usage: Mapping[str, Any] | None = None,
) -> FinishedLine:
    """A line that the live endpoint would have answered with an error."""
    body = {"error": problem_body(error, instance=endpoint)["error"]}
    response = {"status_code": error.kind.status, "request_id": _request_id(job), "body": body}
    return FinishedLine(
        number=number,
        custom_id=custom_id,
        job=job,
        status_code=error.kind.status,
        code=str(body["error"].get("code") or error.kind.code),
        text=_text(custom_id, number, job, response, None),
        usage=usage,
    )


def aborted(number: int, custom_id: str, *, job: str | None, reason: str) -> FinishedLine:
    """A line that did not end before its batch; `reason` is a key of `ABORTED`."""
    code, message = ABORTED[reason]
    return FinishedLine(
        number=number,
        custom_id=custom_id,
        job=job,
        status_code=None,
        code=code,
        text=_text(custom_id, number, job, None, {"code": code, "message": message}),
    )


def added(sum_so_far: BatchUsage, usage: Mapping[str, Any] | None) -> BatchUsage:
    """What all lines used; unknown counts as nothing."""
    if not usage:
        return sum_so_far
    return BatchUsage.model_construct(
        input_tokens=sum_so_far.input_tokens + (usage.get("input_tokens") or 0),
        output_tokens=sum_so_far.output_tokens + (usage.get("output_tokens") or 0),
        cached_tokens=sum_so_far.cached_tokens + (usage.get("cached_input_tokens") or 0),
        reasoning_tokens=sum_so_far.reasoning_tokens + (usage.get("reasoning_tokens") or 0),
    )


def _text(
    custom_id: str,
    number: int,
    job: str | None,
    response: dict[str, Any] | None,
    error: dict[str, Any] | None,
) -> bytes:
    rest = f"{number:032x}" if job is None else job.removeprefix("job_")
    return dumps(
        {"id": f"batch_req_{rest}", "custom_id": custom_id, "response": response, "error": error}
    )


def _request_id(job: str | None) -> str | None:
    return None if job is None else "req_" + job.removeprefix("job_")
