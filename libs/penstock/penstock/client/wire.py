"""What both clients put on the wire and read from it; no I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import httpx2
import orjson
from penstock_contracts.events import EVENT_MODELS, TERMINAL, JobStatus, Position
from penstock_contracts.models import Fact
from penstock_contracts.parts import JobError, Output
from penstock_contracts.requests import Charge, Params, Priority
from penstock_contracts.snapshot import Snapshot
from pydantic import TypeAdapter, ValidationError

from penstock.client.errors import (
    ApiError,
    ClientError,
    JobEnded,
    NotAuthorized,
    NotCompleted,
    NotFound,
    Unreachable,
)
from penstock.client.models import Job, StreamEvent
from penstock.client.transcript import START

__all__ = [
    "Backoff",
    "Call",
    "ends_job",
    "event_of",
    "list_call",
    "output_of",
    "parse",
    "raise_for_error",
    "resume_params",
    "submit_call",
    "why_ended",
]

_OutputAdapter: TypeAdapter[Output] = TypeAdapter(Output)
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_TRIES = 10
"""Failures in a row before a stream is given up: about half a minute."""

M = TypeVar("M", bound=Fact)


class Call(NamedTuple):
    """One request."""

    method: str
    path: str
    json: dict[str, Any] | None = None
    params: dict[str, str] | None = None
    headers: dict[str, str] | None = None


def submit_call(
    task: str,
    given: Mapping[str, Any] | str,
    *,
    model: str | None,
    params: Params | Mapping[str, Any] | None,
    priority: Priority | str | None,
    conversation: str | None,
    deadline: timedelta | None,
    cancel_after: timedelta | None,
    charge: Charge | str | None,
    metadata: Mapping[str, str] | None,
    idempotency_key: str | None,
    wait: timedelta | None,
) -> Call:
    """The request that submits a job; members that are None are left out."""
    if isinstance(params, Params):
        params = params.model_dump(exclude_none=True)
    body = {
        "task": task,
        "input": given,
        "model": model,
        "params": params,
        "priority": priority,
        "conversation": conversation,
        "deadline_s": deadline.total_seconds() if deadline is not None else None,
        "charge": charge,
        "metadata": metadata,
    }
    headers = {}
    if idempotency_key is not None:
        headers["Idempotency-Key"] = f'"{idempotency_key}"'
    if cancel_after is not None:
        headers["Cancel-After"] = f"{cancel_after.total_seconds():.3f}"
    if wait is not None:
        headers["Prefer"] = f"wait={round(wait.total_seconds())}"
    present = {name: value for name, value in body.items() if value is not None}
    return Call("POST", "/v1/jobs", json=present, headers=headers)


def list_call(
    *,
    status: JobStatus | str | None,
    task: str | None,
    user: str | None,
    after: str | None,
    limit: int,
) -> Call:
    """The request for one page of jobs."""
    wanted = {"status": status, "task": task, "user": user, "after": after, "limit": str(limit)}
    params = {name: str(value) for name, value in wanted.items() if value is not None}
    return Call("GET", "/v1/jobs", params=params)


def parse(model: type[M], response: httpx2.Response) -> M:
    """The body of a good answer.

    Raises:
        ApiError: the answer is an error.
        ClientError: the answer is not what this client knows.
    """
    raise_for_error(response)
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        raise _not_penstock(response) from error


def output_of(response: httpx2.Response) -> Output:
    """The output in an answer of `/result`; errors as `parse`."""
    raise_for_error(response)
    try:
        body = orjson.loads(response.content)
        return _OutputAdapter.validate_python(body.get("output", body))
    except (ValueError, AttributeError) as error:
        raise _not_penstock(response) from error


def raise_for_error(response: httpx2.Response) -> None:
    """Turn an error answer into an exception; the response must have been read."""
    if response.is_success:
        return
    try:
        body = orjson.loads(response.content)
        problem = body["error"]
        # OpenAI's contradictions have no code; the problem's own type always names the kind.
        kind_name = str(body["type"]).rpartition(":")[2]
        message, code = str(problem["message"]), str(problem["code"] or kind_name)
    except (ValueError, KeyError, TypeError):
        raise _not_penstock(response) from None
    kind = {401: NotAuthorized, 403: NotAuthorized, 404: NotFound}.get(
        response.status_code, ApiError
    )
    retry_after = response.headers.get("retry-after", "")
    raise (NotCompleted if code == "not_completed" else kind)(
        message,
        status=response.status_code,
        code=code,
        param=problem.get("param"),
        job=body.get("job"),
        retry_after_s=float(retry_after) if retry_after.isdigit() else None,
    )


def event_of(raw: bytes | str) -> StreamEvent | None:
    """An event or snapshot; None for kinds that a newer server may have.

    Raises:
        ClientError: no event at all.
    """
    try:
        body = orjson.loads(raw)
        kind = body["type"]
        if kind == "snapshot":
            return Snapshot.model_validate(body)
        model = EVENT_MODELS.get(kind)
        return model.model_validate(body) if model is not None else None  # type: ignore[return-value]  # EVENT_MODELS holds the members of JobEvent
    except (ValueError, KeyError, TypeError) as error:
        raise ClientError(
            "the server sent an event that is none; client and server versions do not fit"
        ) from error


def ends_job(event: StreamEvent) -> bool:
    """Whether nothing follows."""
    if isinstance(event, Snapshot):
        return event.status.is_terminal
    return event.type in TERMINAL


def why_ended(job: Job) -> JobEnded:
    """The exception for a job that ended without a result."""
    error: JobError | None = job.error
    detail = f": {error.message}" if error is not None else ""
    return JobEnded(
        f"job {job.id} is {job.status.value}{detail}", job=job.id, status=job.status, error=error
    )


class Backoff:
    """Pauses between reconnects of one stream; starts anew whenever something arrived."""

    def __init__(self) -> None:
        self._failures = 0

    def succeed(self) -> None:
        """Something arrived."""
        self._failures = 0

    def next_pause_s(self, cause: Exception | None) -> float:
        """Seconds to wait before the next try.

        Raises:
            Unreachable: there were too many failures in a row.
        """
        self._failures += 1
        if self._failures >= _TRIES:
            raise Unreachable(
                f"the stream broke {_TRIES} times in a row ({cause}); check that the stack is up"
            ) from cause
        return float(min(_FIRST_PAUSE_S * 2 ** (self._failures - 1), _LONGEST_PAUSE_S))


def resume_params(after: Position) -> dict[str, str]:
    """Query parameters that continue a stream after a place."""
    return {} if after == START else {"starting_after": str(after)}


def _not_penstock(response: httpx2.Response) -> ClientError:
    return ClientError(
        f"{response.request.url} answered {response.status_code} in a way that Penstock never "
        "does; check the address and whether a proxy stands in between"
    )
