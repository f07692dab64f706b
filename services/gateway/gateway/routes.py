"""HTTP in: read the request, call one verb, write the answer. The app answers errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlencode

from penstock_contracts.state import JobState
from penstock_kit.auth.principal import Authenticator, Principal
from penstock_kit.jobs.view import TableAway
from penstock_kit.telemetry.tracing import child_of
from starlette.requests import Request

from gateway.admission.bodies import BodyBudget, BodyShare
from gateway.arriving import read_body
from gateway.callers import authenticated
from gateway.cancel import Canceller
from gateway.errors import ApiError, answered_with
from gateway.http import (
    EVENT_STREAM,
    POLL_AFTER,
    Answer,
    StreamAnswer,
    list_header,
    named_headers,
)
from gateway.parameters import (
    asked_position,
    cancel_after,
    check_content_type,
    idempotency_key,
    page_query,
)
from gateway.ports import TicketDesk
from gateway.queueing import QueueLines
from gateway.status import JobReader, reading_scope, table_unavailable
from gateway.stream import EventFollower
from gateway.submit import Accepted, Call, PreparedJob, Submitter
from gateway.views import JobViews, rfc3339
from gateway.waiting import EndWaiter, EndWaiters, Preference, read_preference

__all__ = ["Endpoints", "RouteLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteLimits:
    """Bounds of what a request may ask for."""

    max_body_bytes: int
    max_wait: timedelta
    stream_stall: timedelta
    ticket_lifetime: timedelta


class Endpoints:
    """The native API. Each method is one route."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        submitter: Submitter,
        reader: JobReader,
        canceller: Canceller,
        follower: EventFollower,
        waiters: EndWaiters,
        tickets: TicketDesk,
        lines: QueueLines,
        views: JobViews,
        bodies: BodyBudget,
        limits: RouteLimits,
        socket_url: str | None,
        randomness: Callable[[int], bytes],
    ) -> None:
        self._authenticator = authenticator
        self._submitter = submitter
        self._reader = reader
        self._canceller = canceller
        self._follower = follower
        self._waiters = waiters
        self._tickets = tickets
        self._lines = lines
        self._views = views
        self._bodies = bodies
        self._limits = limits
        self._socket_url = socket_url
        self._randomness = randomness

    async def submit_job(self, request: Request) -> Answer:
        """`POST /v1/jobs`."""
        principal = self._caller(request)
        headers = named_headers(request.scope)
        check_content_type(headers.get("content-type"))
        key = idempotency_key(headers.get("idempotency-key"))
        max_wait_s = int(self._limits.max_wait.total_seconds())
        prefer = list_header(request.scope, "prefer")
        preference = read_preference(prefer, max_wait_s=max_wait_s)
        if not preference.wait_s:
            accepted = await self._submit(request, principal, key)
            earlier = await self._earlier(principal, accepted)
            return self._accepted(accepted, earlier, preference)
        return await self._submit_and_wait(request, principal, key, preference)

    async def get_job(self, request: Request) -> Answer:
        """`GET /v1/jobs/{job}`."""
        state = await self._reader.find(self._caller(request), request.path_params["job"])
        figures = self._lines.figures(state.job)
        view = self._views.of_state(state, figures=figures, with_output=True)
        return Answer.of(200, view, () if state.status.is_terminal else (POLL_AFTER,))

    async def get_result(self, request: Request) -> StreamAnswer:
        """`GET /v1/jobs/{job}/result`."""
        state = await self._reader.find(self._caller(request), request.path_params["job"])
        chunks = await self._reader.result(state)
        return StreamAnswer(
            chunks,
            headers=((b"content-type", b"application/json"),),
            stall_s=self._limits.stream_stall.total_seconds(),
        )

    async def follow_events(self, request: Request) -> StreamAnswer:
        """`GET /v1/jobs/{job}/events`."""
        principal = self._caller(request)
        after = asked_position(request)
        state = await self._reader.find(principal, request.path_params["job"])
        scope = reading_scope(principal, state)
        stream = await self._follower.open(scope, state.job, after)
        return StreamAnswer(
            self._follower.frames(stream, principal),
            headers=EVENT_STREAM,
            stall_s=self._limits.stream_stall.total_seconds(),
            on_close=stream.close,
        )

    async def cancel_job(self, request: Request) -> Answer:
        """`POST /v1/jobs/{job}/cancel`."""
        principal = self._caller(request)
        state = await self._reader.find_own(principal, request.path_params["job"])
        was_asked = await self._canceller.cancel(principal, state)
        view = self._views.of_state(
            state, figures=self._lines.figures(state.job), with_output=False
        )
        return Answer.of(202 if was_asked else 200, view)

    async def list_jobs(self, request: Request) -> Answer:
        """`GET /v1/jobs`."""
        principal = self._caller(request)
        query = page_query(request.query_params)
        page = await self._reader.page(principal, query)
        body = {
            "data": [
                self._views.of_state(
                    state, figures=self._lines.figures(state.job), with_output=False
                )
                for state in page.jobs
            ],
            "has_more": page.next_cursor is not None,
            "next_cursor": page.next_cursor,
        }
        if page.next_cursor is None:
            return Answer.of(200, body)
        following = urlencode({**dict(request.query_params), "after": page.next_cursor})
        link = f'</v1/jobs?{following}>; rel="next"'
        return Answer.of(200, body, [(b"link", link.encode())])

    async def issue_ticket(self, request: Request) -> Answer:
        """`POST /v1/socket-tickets`."""
        principal = self._caller(request)
        try:
            ticket = await self._tickets.issue(principal)
        except TableAway as error:
            raise table_unavailable(error) from error
        body = {
            "ticket": ticket,
            "expires_in": int(self._limits.ticket_lifetime.total_seconds()),
            "url": None if self._socket_url is None else f"{self._socket_url}?ticket={ticket}",
        }
        return Answer.of(201, body, [(b"cache-control", b"no-store")])

    def _caller(self, request: Request) -> Principal:
        return authenticated(self._authenticator, request)

    async def _submit(self, request: Request, principal: Principal, key: str | None) -> Accepted:
        """Take the job; the body's bytes are given back before this returns."""
        with self._bodies.share() as share:
            prepared = await self._prepared(request, principal, key, share)
            return await self._submitter.accept(prepared)

    async def _submit_and_wait(
        self, request: Request, principal: Principal, key: str | None, preference: Preference
    ) -> Answer:
        accepted, waiter = await self._submit_watched(request, principal, key)
        try:
            ending = await waiter.end(preference.wait_s)
        finally:
            waiter.close()
        earlier = await self._earlier(principal, accepted)
        if ending is None:
            return self._accepted(accepted, earlier, preference)
        told = accepted if earlier is None else _as_told_first(accepted, earlier)
        view = self._views.ended(
            job=told.job,
            task=told.task,
            created_text=told.created_text,
            is_demoted=told.is_demoted,
            event=ending,
        )
        return Answer.of(200, view, _submit_headers(accepted, preference))

    async def _earlier(self, principal: Principal, accepted: Accepted) -> JobState | None:
        """A job whose key was used before, as it stands; None: it is new, or not known yet."""
        if not accepted.is_replay:
            return None
        try:
            with answered_with(_job_headers(accepted)):
                state = await self._reader.find_owned(principal, accepted.job)
        except ApiError as error:
            if error.kind.code == "table_unavailable":
                return None  # the log has it, whether it can be looked up now or not
            raise
        return None if state.task is None else state

    async def _submit_watched(
        self, request: Request, principal: Principal, key: str | None
    ) -> tuple[Accepted, EndWaiter]:
        with self._bodies.share() as share:
            prepared = await self._prepared(request, principal, key, share)
            waiter = await self._waiters.begin(
                prepared.scope, prepared.job, may_exist=prepared.key is not None
            )
            try:
                return await self._submitter.accept(prepared), waiter
            except BaseException:
                waiter.close()
                raise

    async def _prepared(
        self, request: Request, principal: Principal, key: str | None, share: BodyShare
    ) -> PreparedJob:
        headers = named_headers(request.scope)
        limit = cancel_after(headers.get("cancel-after"))
        body = await read_body(
            headers, request.receive, max_bytes=self._limits.max_body_bytes, share=share
        )
        trace = child_of(
            headers.get("traceparent"),
            headers.get("tracestate"),
            random_bytes=self._randomness,
        )
        call = Call(
            principal=principal,
            body=body,
            idempotency_key=key,
            cancel_after=limit,
            traceparent=trace.traceparent,
            tracestate=trace.state or None,
        )
        return self._submitter.prepare(call)

    def _accepted(
        self, accepted: Accepted, earlier: JobState | None, preference: Preference
    ) -> Answer:
        headers = _submit_headers(accepted, preference)
        figures = self._lines.figures(accepted.job)
        if earlier is not None:
            view = self._views.of_state(earlier, figures=figures, with_output=True)
            is_over = earlier.status.is_terminal
            return Answer.of(202, view, headers if is_over else [*headers, POLL_AFTER])
        view = self._views.accepted(
            job=accepted.job,
            task=accepted.task,
            created_text=accepted.created_text,
            is_demoted=accepted.is_demoted,
            figures=figures,
        )
        return Answer.of(202, view, [*headers, POLL_AFTER])


def _as_told_first(accepted: Accepted, earlier: JobState) -> Accepted:
    created_at = earlier.created_at
    return replace(
        accepted,
        created_text=accepted.created_text if created_at is None else rfc3339(created_at),
        is_demoted=earlier.demoted is True,
    )


def _submit_headers(accepted: Accepted, preference: Preference) -> list[tuple[bytes, bytes]]:
    headers = _job_headers(accepted)
    if preference.applied is not None:
        headers["preference-applied"] = preference.applied
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _job_headers(accepted: Accepted) -> dict[str, str]:
    headers = {"location": f"/v1/jobs/{accepted.job}"}
    if accepted.is_replay:
        headers["idempotent-replayed"] = "true"
    return headers | accepted.headers
