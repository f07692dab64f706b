"""Around every request: an id, a count, a duration; a short cut to plain addresses. Pure ASGI."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

from starlette.requests import Request

from gateway.http import Answer, Message, Receive, Scope, Send, StreamAnswer
from gateway.metrics import GatewayMetrics

__all__ = ["Frame"]

_REQUEST_ID = re.compile(rb"^[A-Za-z0-9._-]{1,128}$")
_UNROUTED = "unrouted"
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

Endpoint = Callable[[Request], Awaitable[Answer | StreamAnswer]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Frame:
    """The outermost app. `fast` maps (method, path) to endpoints that need no router."""

    def __init__(
        self,
        app: Any,
        *,
        fast: Mapping[tuple[str, str], Endpoint],
        metrics: GatewayMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._app: App = app
        self._fast = fast
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other scopes are none of ours."""
        if scope["type"] != "http":
            return
        began = self._clock()
        request_id = _request_id(scope)
        scope["penstock.request_id"] = request_id.decode()

        async def send_framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
                self._count(scope, message["status"], self._clock() - began)
            await send(message)

        endpoint = self._fast.get((scope["method"], scope["path"]))
        if endpoint is None:
            await self._app(scope, receive, send_framed)
            return
        answer = await endpoint(Request(scope, receive))
        await answer(scope, receive, send_framed)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        name = _route_name(scope, self._fast)
        self._metrics.requests.labels(name, method, str(status)).inc()
        self._metrics.request_seconds.labels(name).observe(seconds)


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.match(value):
            given: bytes = value
            return given
    return b"req_" + uuid4().hex.encode()


def _route_name(scope: Scope, fast: Mapping[tuple[str, str], Endpoint]) -> str:
    """A bounded label: the route's template, never the path that was sent."""
    if (scope["method"], scope["path"]) in fast:
        path: str = scope["path"]
        return path
    route = scope.get("route")
    return str(getattr(route, "path", _UNROUTED)) if route is not None else _UNROUTED
