"""Around every request: an id, a count, a duration; a short cut to plain addresses. Pure ASGI."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from prometheus_client import Counter, Histogram
from starlette.requests import Request

from gateway.http import Answer, Message, Receive, Scope, Send, StreamAnswer, named_headers
from gateway.metrics import GatewayMetrics

__all__ = ["App", "Frame"]

_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,128}$")
_UNROUTED = "unrouted"
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

Endpoint = Callable[[Request], Awaitable[Answer | StreamAnswer]]
App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


class Frame:
    """Our own outermost app. `fast` maps (method, path) to endpoints that need no router."""

    def __init__(
        self,
        app: Any,
        *,
        fast: Mapping[tuple[str, str], Endpoint],
        metrics: GatewayMetrics,
        clock: Callable[[], float],
        randomness: Callable[[int], bytes],
        sockets: App | None = None,
    ) -> None:
        self._app: App = app
        self._sockets = sockets
        self._fast = fast
        self._metrics = metrics
        self._clock = clock
        self._randomness = randomness
        self._meters: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket; other scopes are none of ours."""
        if scope["type"] == "websocket" and self._sockets is not None:
            await self._sockets(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        began = self._clock()
        request_id = self._request_id(scope)
        scope["penstock.request_id"] = request_id.decode()

        async def send_framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                took_s = self._clock() - began
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id),
                    (b"openai-processing-ms", b"%d" % (took_s * 1000)),
                ]
                self._count(scope, message["status"], took_s)
            await send(message)

        endpoint = self._fast.get((scope["method"], scope["path"]))
        if endpoint is None:
            await self._app(scope, receive, send_framed)
            return
        answer = await endpoint(Request(scope, receive))
        await answer(scope, receive, send_framed)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        labels = (_route_name(scope, self._fast), method, status)
        meters = self._meters.get(labels)
        if meters is None:
            name, method, status = labels
            # Bounded: routes x methods x statuses of the registry.
            meters = self._meters[labels] = (
                self._metrics.requests.labels(name, method, str(status)),
                self._metrics.request_seconds.labels(name),
            )
        meters[0].inc()
        meters[1].observe(seconds)

    def _request_id(self, scope: Scope) -> bytes:
        given = named_headers(scope).get("x-request-id")
        if given is not None and _REQUEST_ID.match(given) is not None:
            return given.encode()
        return b"req_" + self._randomness(16).hex().encode()


def _route_name(scope: Scope, fast: Mapping[tuple[str, str], Endpoint]) -> str:
    """A bounded label: the route's template, never the path that was sent."""
    if (scope["method"], scope["path"]) in fast:
        path: str = scope["path"]
        return path
    route = scope.get("route")
    return str(getattr(route, "path", _UNROUTED)) if route is not None else _UNROUTED
