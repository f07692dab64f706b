"""HTTP in: batches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from penstock_contracts.codec import decode_json
from penstock_contracts.errors import MalformedJson
from penstock_kit.auth.principal import Authenticator
from starlette.requests import Request

from gateway.admission.bodies import BodyBudget
from gateway.arriving import read_body
from gateway.callers import authenticated
from gateway.errors import ApiError
from gateway.http import EVENT_STREAM, Answer, StreamAnswer, named_headers
from gateway.openai.batches.body import BatchBody
from gateway.openai.batches.desk import BatchDesk
from gateway.openai.batches.following import BatchFollower
from gateway.openai.batches.views import batch_view, page_view
from gateway.openai.files.paging import page_ask, starting_after
from gateway.openai.strict import read_body_as
from gateway.parameters import check_content_type, idempotency_key

__all__ = ["BatchEndpoints"]

_MAX_BODY_BYTES = 64 * 1024


class BatchEndpoints:
    """`/v1/batches`."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        desk: BatchDesk,
        follower: BatchFollower,
        bodies: BodyBudget,
        endpoints: Sequence[str],
        stall: timedelta,
    ) -> None:
        self._authenticator = authenticator
        self._desk = desk
        self._follower = follower
        self._bodies = bodies
        self._endpoints = endpoints
        self._stall_s = stall.total_seconds()

    async def create_batch(self, request: Request) -> Answer:
        """`POST /v1/batches`."""
        principal = authenticated(self._authenticator, request)
        headers = named_headers(request.scope)
        check_content_type(headers.get("content-type"))
        key = idempotency_key(headers.get("idempotency-key"))
        body = read_body_as(BatchBody, await self._decoded(request))
        if body.endpoint not in self._endpoints:
            message = f"Unsupported value: batches of '{body.endpoint}' are not run here."
            raise ApiError("unsupported_value", message, param="endpoint")
        asked = await self._desk.create(principal, body, key)
        replayed = [(b"idempotent-replayed", b"true")] if asked.is_replay else []
        return Answer.of(200, batch_view(asked.state), replayed)

    async def list_batches(self, request: Request) -> Answer:
        """`GET /v1/batches`."""
        principal = authenticated(self._authenticator, request)
        ask = page_ask(request.query_params, known=("after", "limit"), most=100, default=20)
        return Answer.of(200, page_view(await self._desk.page(principal, ask)))

    async def get_batch(self, request: Request) -> Answer:
        """`GET /v1/batches/{batch_id}`."""
        principal = authenticated(self._authenticator, request)
        state = await self._desk.find(principal, request.path_params["batch_id"])
        return Answer.of(200, batch_view(state))

    async def cancel_batch(self, request: Request) -> Answer:
        """`POST /v1/batches/{batch_id}/cancel`."""
        principal = authenticated(self._authenticator, request)
        state = await self._desk.cancel(principal, request.path_params["batch_id"])
        return Answer.of(200, batch_view(state))

    async def follow_batch(self, request: Request) -> StreamAnswer:
        """`GET /v1/batches/{batch_id}/events`."""
        principal = authenticated(self._authenticator, request)
        after = starting_after(request)
        state = await self._desk.find(principal, request.path_params["batch_id"])
        frames = self._follower.frames(principal, state.request.id, after=after)
        return StreamAnswer(frames, headers=EVENT_STREAM, stall_s=self._stall_s)

    async def _decoded(self, request: Request) -> object:
        headers = named_headers(request.scope)
        with self._bodies.share() as share:
            raw = await read_body(headers, request.receive, max_bytes=_MAX_BODY_BYTES, share=share)
        try:
            return decode_json(raw)
        except MalformedJson as error:
            message = f"{error}; send one JSON object in UTF-8"
            raise ApiError("malformed_json", message) from None
