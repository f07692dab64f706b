"""The synchronous client: the same verbs, streams over SSE."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import httpx2
from penstock_contracts.events import JobStatus, Position
from penstock_contracts.parts import Output
from penstock_contracts.requests import Charge, Params, Priority

from penstock.client.errors import NotCompleted, Unreachable
from penstock.client.models import Job, JobPage, StreamEvent
from penstock.client.transcript import START
from penstock.client.wire import (
    Backoff,
    Call,
    ends_job,
    event_of,
    list_call,
    output_of,
    parse,
    raise_for_error,
    resume_params,
    submit_call,
    why_ended,
)

__all__ = ["Client"]

_SILENCE_S = 45.0
"""A stream that sends nothing for so long, not even a heartbeat (15 s), is broken."""
_RECORDING_S = 0.05
"""Pause while a result is stored that the events have announced already."""


class Client:
    """Talks to one gateway with one credential. A context manager; not for two threads at once."""

    def __init__(
        self, gateway: str, api_key: str, *, timeout: timedelta = timedelta(seconds=30)
    ) -> None:
        self._timeout_s = timeout.total_seconds()
        self._http = httpx2.Client(
            base_url=gateway,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=self._timeout_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def submit(
        self,
        task: str,
        input: Mapping[str, Any] | str,  # noqa: A002 - the name that the API has
        *,
        model: str | None = None,
        params: Params | Mapping[str, Any] | None = None,
        priority: Priority | str | None = None,
        conversation: str | None = None,
        deadline: timedelta | None = None,
        cancel_after: timedelta | None = None,
        charge: Charge | str | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        wait: timedelta | None = None,
    ) -> Job:
        """Hand a job in; as `AsyncClient.submit`."""
        call = submit_call(
            task,
            input,
            model=model,
            params=params,
            priority=priority,
            conversation=conversation,
            deadline=deadline,
            cancel_after=cancel_after,
            charge=charge,
            metadata=metadata,
            idempotency_key=idempotency_key,
            wait=wait,
        )
        return parse(Job, self._send(call, extra_s=wait.total_seconds() if wait else 0))

    def get(self, job: str) -> Job:
        """What is known of the job now."""
        return parse(Job, self._send(Call("GET", f"/v1/jobs/{job}")))

    def result(self, job: str) -> Output:
        """The job's output, once it is there.

        Raises:
            JobEnded: it failed, was cancelled, expired, or nobody knows how it ended.
        """
        while True:
            current = self.get(job)
            if current.status is JobStatus.COMPLETED:
                try:
                    return output_of(self._send(Call("GET", f"/v1/jobs/{job}/result")))
                except NotCompleted:
                    time.sleep(_RECORDING_S)
            elif current.status.is_terminal:
                raise why_ended(current)
            else:
                for _ in self.events(job):
                    pass

    def cancel(self, job: str) -> Job:
        """Ask for the end of the job; one that is over already is returned as it is."""
        return parse(Job, self._send(Call("POST", f"/v1/jobs/{job}/cancel")))

    def list(
        self,
        *,
        status: JobStatus | str | None = None,
        task: str | None = None,
        user: str | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> JobPage:
        """One page of jobs, newest first; `after` is the `next_cursor` of the last page."""
        call = list_call(status=status, task=task, user=user, after=after, limit=limit)
        return parse(JobPage, self._send(call))

    def events(self, job: str, *, after: Position | None = None) -> Iterator[StreamEvent]:
        """Everything that happens to the job after a place; as `AsyncClient.events`."""
        position, backoff = after or START, Backoff()
        while True:
            cause: Exception | None = None
            try:
                for event in self._sse(job, position):
                    backoff.succeed()
                    if event.position > position or ends_job(event):
                        position = max(position, event.position)
                        yield event
                    if ends_job(event):
                        return
            except httpx2.TransportError as error:
                cause = error
            if cause is None and self.get(job).status.is_terminal:
                return  # the place that the caller named was the last one
            time.sleep(backoff.next_pause_s(cause))

    def _sse(self, job: str, after: Position) -> Iterator[StreamEvent]:
        with self._http.stream(
            "GET",
            f"/v1/jobs/{job}/events",
            params=resume_params(after),
            headers={"Accept": "text/event-stream"},
            timeout=httpx2.Timeout(30.0, read=_SILENCE_S),
        ) as response:
            if not response.is_success:
                response.read()
                raise_for_error(response)
            for message in httpx2.EventSource(response):
                event = event_of(message.data) if message.data else None
                if event is not None:
                    yield event

    def _send(self, call: Call, *, extra_s: float = 0) -> httpx2.Response:
        try:
            return self._http.request(
                call.method,
                call.path,
                json=call.json,
                params=call.params,
                headers=call.headers,
                timeout=httpx2.Timeout(self._timeout_s, read=self._timeout_s + extra_s),
            )
        except httpx2.TransportError as error:
            raise Unreachable(
                f"no answer from {self._http.base_url}: {str(error) or type(error).__name__}; "
                "check the address, and that the stack is up (`penstock status`)"
            ) from error
