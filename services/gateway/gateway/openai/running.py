"""From a request of the OpenAI API to its job: one decode, one record, and its stream at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from penstock_contracts.codec import decode_json
from penstock_contracts.errors import MalformedJson
from penstock_kit.auth.principal import Authenticator, Principal
from penstock_kit.tasks import TaskCatalog
from penstock_kit.telemetry.tracing import child_of
from starlette.requests import Request

from gateway.admission.bodies import BodyBudget, BodyShare
from gateway.arriving import read_body
from gateway.callers import authenticated
from gateway.cancel import Canceller
from gateway.errors import ApiError, answered_with
from gateway.http import named_headers
from gateway.openai.asking import Ask, Follow, checked_job
from gateway.openai.ending import Endings
from gateway.openai.feed import Feed, FeedLimits
from gateway.openai.object_ids import object_id
from gateway.openai.under_way import Running, RunningLimits, job_headers
from gateway.parameters import cancel_after, check_content_type, idempotency_key
from gateway.ports import Streams
from gateway.status import JobReader
from gateway.submit import Accepted, Call, PreparedJob, Submitter

__all__ = ["Came", "Runner", "Translate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """A request as it came in: who, the decoded body, and its Idempotency-Key."""

    principal: Principal
    body: Any
    key: str | None


Translate = Callable[[Came], Awaitable[Ask]]
"""Checks the body and says which job it stands for; raises `ApiError` for what is wrong."""


class Runner:
    """Submits asks and hands out the jobs under way; lets every caller go when the process drains.

    `randomness(n)` gives n random bytes.
    """

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        submitter: Submitter,
        streams: Streams,
        reader: JobReader,
        canceller: Canceller,
        endings: Endings,
        tasks: TaskCatalog,
        bodies: BodyBudget,
        max_body_bytes: int,
        feed_limits: FeedLimits,
        limits: RunningLimits,
        randomness: Callable[[int], bytes],
    ) -> None:
        self._authenticator = authenticator
        self._submitter = submitter
        self._streams = streams
        self._reader = reader
        self._canceller = canceller
        self._endings = endings
        self._tasks = tasks
        self._bodies = bodies
        self._max_body_bytes = max_body_bytes
        self._feed_limits = feed_limits
        self._limits = limits
        self._randomness = randomness
        self._open: set[Running] = set()
        self._drains_at: float | None = None

    def caller(self, request: Request) -> Principal:
        """Who asks.

        Raises:
            ApiError: a 401.
        """
        return authenticated(self._authenticator, request)

    async def begin(self, request: Request, translate: Translate) -> Running:
        """Read the request, submit its job, and be at its stream from the first event on.

        The body's bytes are given back before this returns. `close` of the result must be called.

        Raises:
            ApiError: whatever is wrong with the request, or keeps its job out.
        """
        principal = self.caller(request)
        check_content_type(named_headers(request.scope).get("content-type"))
        call = self._call(request, principal)
        with self._bodies.share() as share:
            body = await self._body(request, share)
            ask = await translate(Came(principal=principal, body=body, key=call.idempotency_key))
            checked = checked_job(ask, self._tasks)
            prepared = self._submitter.prepare_checked(call, checked, route=ask.route, content=body)
            return await self.submit(prepared, ask)

    async def submit(self, prepared: PreparedJob, ask: Ask) -> Running:
        """The same for a job that was prepared already."""
        feed = await self._feed(prepared, ask.follow)
        try:
            accepted = await self._submitter.accept(prepared)
            with answered_with(job_headers(accepted)):
                created_at, model = await self._told(prepared, accepted, ask)
        except BaseException:
            feed.close()
            raise
        running = Running(
            ask=ask,
            accepted=accepted,
            object_id=object_id(ask.prefix, accepted.job),
            created_at=created_at,
            model=model,
            principal=prepared.event.principal,
            has_key=prepared.key is not None,
            feed=feed,
            endings=self._endings,
            canceller=self._canceller,
            lapse_of=self._authenticator.lapse_of,
            limits=self._limits,
            on_close=self._open.discard,
        )
        self._open.add(running)
        self._let_go_in_time(running)
        return running

    def prepare(
        self, principal: Principal, ask: Ask, *, key: str | None, content: Any
    ) -> PreparedJob:
        """Name a job outside of any request, for example of a line of a batch."""
        call = Call(principal=principal, idempotency_key=key)
        return self._submitter.prepare_checked(
            call, checked_job(ask, self._tasks), route=ask.route, content=content
        )

    def drain(self, grace: timedelta) -> None:
        """Jobs that end within `grace` are still answered here; then every caller is let go."""
        self._drains_at = asyncio.get_running_loop().time() + grace.total_seconds()
        for running in tuple(self._open):
            self._let_go_in_time(running)

    def _let_go_in_time(self, running: Running) -> None:
        if self._drains_at is not None:
            asyncio.get_running_loop().call_at(self._drains_at, running.let_go)

    async def _body(self, request: Request, share: BodyShare) -> Any:
        raw = await read_body(
            named_headers(request.scope),
            request.receive,
            max_bytes=self._max_body_bytes,
            share=share,
        )
        try:
            return decode_json(raw)
        except MalformedJson as error:
            message = f"We could not parse the JSON body of your request: {error}."
            raise ApiError("malformed_json", message) from None

    def _call(self, request: Request, principal: Principal) -> Call:
        headers = named_headers(request.scope)
        trace = child_of(
            headers.get("traceparent"), headers.get("tracestate"), random_bytes=self._randomness
        )
        return Call(
            principal=principal,
            idempotency_key=idempotency_key(headers.get("idempotency-key")),
            cancel_after=cancel_after(headers.get("cancel-after")),
            traceparent=trace.traceparent,
            tracestate=trace.state or None,
        )

    async def _feed(self, prepared: PreparedJob, follow: Follow) -> Feed:
        feed = Feed(
            self._streams,
            prepared.scope,
            prepared.job,
            limits=self._feed_limits,
            with_deltas=follow in (Follow.EVENTS, Follow.WHOLE),
        )
        if follow is Follow.NOTHING:
            return feed
        if prepared.key is None:
            feed.begin()
        elif follow is Follow.WHOLE:
            await feed.join_whole()
        else:
            await feed.join(None)
        return feed

    async def _told(
        self, prepared: PreparedJob, accepted: Accepted, ask: Ask
    ) -> tuple[datetime, str | None]:
        """When the job was created, and by which model: as the first answer told it."""
        event = prepared.event
        if not accepted.is_replay:
            return event.created_at, ask.model
        state = await self._reader.find_owned(event.principal, accepted.job)
        return state.created_at or event.created_at, state.model or ask.model
