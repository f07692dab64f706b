"""HTTP in: read the request, call one verb, write the answer. The app answers errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from penstock_contracts.events import JobStatus, Position
from penstock_kit.auth.bearer import bearer_token
from penstock_kit.auth.principal import Authenticator, AuthError, Principal
from penstock_kit.jobs.view import TableAway
from penstock_kit.telemetry.tracing import child_of
from starlette.requests import Request

from gateway.cancel import Canceller
from gateway.errors import ApiError
from gateway.http import Answer, StreamAnswer, named_headers, read_body
from gateway.ports import TicketDesk
from gateway.queueing import QueueLines
from gateway.status import JobReader, PageQuery, table_unavailable
from gateway.stream import EventFollower
from gateway.submit import Accepted, Call, PreparedJob, Submitter
from gateway.views import JobViews
from gateway.waiting import EndWaiters, Preference, read_preference

__all__ = ["Endpoints", "RouteLimits"]

_JSON_TYPE = re.compile(
    r"^application/(?:json|[a-z0-9.+-]+\+json)\s*(?:;\s*charset=\"?utf-8\"?\s*)?$", re.IGNORECASE
)
_KEY = re.compile(r"^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$")
_MAX_PAGE = 100
_MAX_WORD_CHARS = 256
_LIMIT = re.compile(r"^[1-9][0-9]{0,2}$")
_SSE_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


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
        self._limits = limits
        self._socket_url = socket_url
        self._randomness = randomness

    async def submit_job(self, request: Request) -> Answer:
        """`POST /v1/jobs`."""
        principal = self._principal(request)
        headers = named_headers(request.scope)
        _check_content_type(headers.get("content-type"))
        key = _idempotency_key(headers.get("idempotency-key"))
        max_wait_s = int(self._limits.max_wait.total_seconds())
        preference = read_preference(headers.get("prefer"), max_wait_s=max_wait_s)
        body = await read_body(headers, request.receive, max_bytes=self._limits.max_body_bytes)
        trace = child_of(
            headers.get("traceparent"),
            headers.get("tracestate"),
            random_bytes=self._randomness,
        )
        call = Call(
            principal=principal,
            body=body,
            idempotency_key=key,
            traceparent=trace.traceparent,
            tracestate=trace.state or None,
        )
        prepared = self._submitter.prepare(call)
        if preference.wait_s:
            return await self._submit_and_wait(prepared, preference)
        return self._accepted(await self._submitter.accept(prepared), preference)

    async def get_job(self, request: Request) -> Answer:
        """`GET /v1/jobs/{job}`."""
        state = await self._reader.find(self._principal(request), request.path_params["job"])
        figures = self._lines.figures(state.job)
        return Answer.of(200, self._views.of_state(state, figures=figures, with_output=True))

    async def get_result(self, request: Request) -> StreamAnswer:
        """`GET /v1/jobs/{job}/result`."""
        state = await self._reader.find(self._principal(request), request.path_params["job"])
        chunks = await self._reader.result(state)
        return StreamAnswer(
            chunks,
            headers=((b"content-type", b"application/json"),),
            stall_s=self._limits.stream_stall.total_seconds(),
        )

    async def follow_events(self, request: Request) -> StreamAnswer:
        """`GET /v1/jobs/{job}/events`."""
        principal = self._principal(request)
        after = _position(request)
        state = await self._reader.find(principal, request.path_params["job"])
        stream = await self._follower.open(principal, state.job, after)
        return StreamAnswer(
            self._follower.frames(stream, principal),
            headers=_SSE_HEADERS,
            stall_s=self._limits.stream_stall.total_seconds(),
            on_close=stream.close,
        )

    async def cancel_job(self, request: Request) -> Answer:
        """`POST /v1/jobs/{job}/cancel`."""
        principal = self._principal(request)
        state = await self._reader.find(principal, request.path_params["job"])
        was_asked = await self._canceller.cancel(principal, state)
        view = self._views.of_state(
            state, figures=self._lines.figures(state.job), with_output=False
        )
        return Answer.of(202 if was_asked else 200, view)

    async def list_jobs(self, request: Request) -> Answer:
        """`GET /v1/jobs`."""
        principal = self._principal(request)
        query = _page_query(request.query_params)
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
        principal = self._principal(request)
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

    def _principal(self, request: Request) -> Principal:
        try:
            return self._authenticator.authenticate(
                bearer_token(named_headers(request.scope).get("authorization"))
            )
        except AuthError as error:
            challenge = 'Bearer realm="penstock"'
            if error.code != "missing_credentials":
                challenge += f', error="invalid_token", error_description="{error.code}"'
            raise ApiError(
                error.code, str(error), headers={"www-authenticate": challenge}
            ) from None

    async def _submit_and_wait(self, prepared: PreparedJob, preference: Preference) -> Answer:
        waiter = await self._waiters.begin(
            prepared.scope, prepared.job, may_exist=prepared.key is not None
        )
        try:
            accepted = await self._submitter.accept(prepared)
            ending = await waiter.end(preference.wait_s)
        finally:
            waiter.close()
        if ending is None:
            return self._accepted(accepted, preference)
        view = self._views.ended(
            job=prepared.job,
            task=prepared.event.checked.body.task,
            created_text=prepared.event.created_text,
            event=ending,
        )
        return Answer.of(200, view, _submit_headers(accepted, preference))

    def _accepted(self, accepted: Accepted, preference: Preference) -> Answer:
        event = accepted.prepared.event
        view = self._views.accepted(
            job=event.job,
            task=event.checked.body.task,
            created_text=event.created_text,
            figures=self._lines.figures(event.job),
        )
        return Answer.of(202, view, _submit_headers(accepted, preference))


def _submit_headers(accepted: Accepted, preference: Preference) -> list[tuple[bytes, bytes]]:
    headers = [(b"location", f"/v1/jobs/{accepted.prepared.job}".encode())]
    if accepted.is_replay:
        headers.append((b"idempotent-replayed", b"true"))
    if preference.applied is not None:
        headers.append((b"preference-applied", preference.applied.encode()))
    return headers


def _check_content_type(value: str | None) -> None:
    if value is None or _JSON_TYPE.match(value.strip()) is None:
        message = "the body must be JSON in UTF-8; send Content-Type: application/json"
        raise ApiError(
            "unsupported_media_type", message, headers={"accept-post": "application/json"}
        )


def _idempotency_key(value: str | None) -> str | None:
    if value is None:
        return None
    key = value.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if _KEY.match(key) is None:
        message = "Idempotency-Key: 1 to 255 printable ASCII characters, quoted or bare"
        raise ApiError("invalid_parameter", message, param="Idempotency-Key")
    return key


def _position(request: Request) -> Position | None:
    name, text = "starting_after", request.query_params.get("starting_after")
    if text is None:
        name, text = "Last-Event-ID", named_headers(request.scope).get("last-event-id")
    if not text:
        return None
    try:
        return Position.parse(text)
    except ValueError:
        message = f"{name}: give attempt-seq as in the stream's ids, for example 1-17"
        raise ApiError("invalid_parameter", message, param=name) from None


def _page_query(params: Mapping[str, Any]) -> PageQuery:
    known = {"status", "task", "user", "after", "limit"}
    for name in params:
        if name not in known:
            message = f"unknown query parameter; known ones: {', '.join(sorted(known))}"
            raise ApiError("invalid_parameter", message, param=name[:64])
    return PageQuery(
        status=_status(params.get("status")),
        task=_word("task", params.get("task")),
        user=_word("user", params.get("user")),
        after=_word("after", params.get("after")),
        limit=_limit(params.get("limit")),
    )


def _status(text: str | None) -> JobStatus | None:
    if text is None:
        return None
    try:
        return JobStatus(text)
    except ValueError:
        message = f"status: one of {', '.join(JobStatus)}"
        raise ApiError("invalid_parameter", message, param="status") from None


def _word(name: str, text: str | None) -> str | None:
    if text is None or (0 < len(text) <= _MAX_WORD_CHARS and text.isascii() and text.isprintable()):
        return text
    message = f"{name}: 1 to 256 printable ASCII characters"
    raise ApiError("invalid_parameter", message, param=name)


def _limit(text: str | None) -> int:
    if text is None:
        return 20
    if _LIMIT.match(text) is None or int(text) > _MAX_PAGE:
        message = f"limit: a whole number from 1 to {_MAX_PAGE}"
        raise ApiError("invalid_parameter", message, param="limit")
    return int(text)
