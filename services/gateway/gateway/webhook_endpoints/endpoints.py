"""HTTP in: orders about endpoints."""

from __future__ import annotations

from typing import Any, Final

from penstock_contracts.webhooks import WEBHOOK_EVENTS
from starlette.requests import Request

from gateway.http import Answer, named_headers
from gateway.openai.files.paging import page_ask
from gateway.openai.reading import BodyReader
from gateway.openai.strict import read_body_as
from gateway.parameters import idempotency_key
from gateway.webhook_endpoints.desk import Shown, WebhookDesk
from gateway.webhook_endpoints.models import (
    CreateWebhookEndpoint,
    RotateWebhookSecret,
    TestWebhookEndpoint,
    UpdateWebhookEndpoint,
    endpoint_object,
)

__all__ = ["MOST_ON_A_PAGE", "WebhookEndpointRoutes"]

MOST_ON_A_PAGE: Final = 10_000
"""More than any tenant has: who asks for no limit gets all, as there has never been one."""


class WebhookEndpointRoutes:
    """`/v1/webhook_endpoints`. Each method is one route."""

    def __init__(self, *, reader: BodyReader, desk: WebhookDesk) -> None:
        self._reader = reader
        self._desk = desk

    async def create_webhook_endpoint(self, request: Request) -> Answer:
        """`POST /v1/webhook_endpoints`."""
        principal = self._reader.caller(request)
        key = _key(request)
        body = read_body_as(CreateWebhookEndpoint, await self._reader.read(request))
        return _shown(await self._desk.create(principal, body, key=key), status=201)

    async def list_webhook_endpoints(self, request: Request) -> Answer:
        """`GET /v1/webhook_endpoints`."""
        principal = self._reader.caller(request)
        ask = page_ask(
            request.query_params,
            known=("after", "limit"),
            most=MOST_ON_A_PAGE,
            default=MOST_ON_A_PAGE,
        )
        page = self._desk.page(principal, after=ask.after, limit=ask.limit)
        data = [endpoint_object(view) for view in page.views]
        body: dict[str, Any] = {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": page.has_more,
        }
        return Answer.of(200, body)

    async def get_webhook_endpoint(self, request: Request) -> Answer:
        """`GET /v1/webhook_endpoints/{endpoint}`."""
        view = await self._desk.find(self._reader.caller(request), _endpoint(request))
        return Answer.of(200, endpoint_object(view))

    async def update_webhook_endpoint(self, request: Request) -> Answer:
        """`PATCH /v1/webhook_endpoints/{endpoint}`."""
        principal = self._reader.caller(request)
        body = read_body_as(UpdateWebhookEndpoint, await self._reader.read(request))
        view = await self._desk.update(principal, _endpoint(request), body)
        return Answer.of(200, endpoint_object(view))

    async def modify_webhook_endpoint(self, request: Request) -> Answer:
        """`POST /v1/webhook_endpoints/{endpoint}`: the same, as the OpenAI SDK asks for it."""
        return await self.update_webhook_endpoint(request)

    async def delete_webhook_endpoint(self, request: Request) -> Answer:
        """`DELETE /v1/webhook_endpoints/{endpoint}`."""
        endpoint = _endpoint(request)
        await self._desk.delete(self._reader.caller(request), endpoint)
        body = {"id": endpoint, "object": "webhook_endpoint.deleted", "deleted": True}
        return Answer.of(200, body)

    async def rotate_webhook_secret(self, request: Request) -> Answer:
        """`POST /v1/webhook_endpoints/{endpoint}/rotate_secret`."""
        principal = self._reader.caller(request)
        key = _key(request)
        given = await self._reader.read(request)
        body = read_body_as(RotateWebhookSecret, {} if given is None else given)
        shown = await self._desk.rotate(principal, _endpoint(request), body, key=key)
        return _shown(shown, status=200)

    async def test_webhook_endpoint(self, request: Request) -> Answer:
        """`POST /v1/webhook_endpoints/{endpoint}/test`."""
        principal = self._reader.caller(request)
        given = await self._reader.read(request)
        body = read_body_as(TestWebhookEndpoint, {} if given is None else given)
        endpoint = _endpoint(request)
        event_id = await self._desk.test(principal, endpoint, event=body.type)
        sent = {
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": endpoint,
            "event_id": event_id,
            "type": body.type,
            "event_type": body.type,
            "success": True,
            "status_code": None,
        }
        return Answer.of(202, sent)

    async def list_webhook_event_types(self, request: Request) -> Answer:
        """`GET /v1/webhook_event_types`."""
        self._reader.caller(request)
        return Answer.of(200, {"object": "list", "data": list(WEBHOOK_EVENTS)})


def _endpoint(request: Request) -> str:
    return str(request.path_params["endpoint"])


def _key(request: Request) -> str | None:
    return idempotency_key(named_headers(request.scope).get("idempotency-key"))


def _shown(shown: Shown, *, status: int) -> Answer:
    headers = [(b"cache-control", b"no-store")]
    if shown.is_replay:
        headers.append((b"idempotent-replayed", b"true"))
    secret = {"secret": shown.secret, "signing_secret": shown.secret}
    body = {**endpoint_object(shown.view), **secret}
    return Answer.of(status, body, headers)
