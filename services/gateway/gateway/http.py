"""What the routes need of HTTP: a lean answer, a streamed one, headers by name. Pure ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

from penstock_contracts.codec import dumps

from gateway.errors import PROBLEM_TYPE, ApiError, problem_body

__all__ = [
    "Answer",
    "EVENT_STREAM",
    "POLL_AFTER",
    "ClientGoneError",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "StreamAnswer",
    "list_header",
    "named_headers",
    "problem",
    "until_gone",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")
EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
"""Headers of server-sent events: nobody in between keeps or gathers them."""
POLL_AFTER = (b"openai-poll-after-ms", b"500")
"""Of answers that show an unfinished job: when to look again. Twice a second is soon enough for a
person, and few looks for us: one round trip to Redis each."""


class ClientGoneError(Exception):
    """The caller hung up before its request was read; there is nobody to answer."""


class Answer:
    """A whole response in two messages; an ASGI app of its own."""

    __slots__ = ("body", "headers", "status_code")

    def __init__(
        self, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = (_JSON,)
    ) -> None:
        self.status_code = status
        self.body = body
        self.headers: RawHeaders = [*headers, (b"content-length", b"%d" % len(body))]

    @classmethod
    def of(cls, status: int, value: Any, headers: Iterable[tuple[bytes, bytes]] = ()) -> Answer:
        """An answer of plain values as JSON."""
        return cls(status, dumps(value), (_JSON, *headers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the shape of ASGI
        """Send it."""
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.headers}
        )
        await send(
            {
                "type": "http.response.body",
                "body": b"" if scope["method"] == "HEAD" else self.body,
            }
        )


class StreamAnswer:
    """A response in pieces, given up when the caller hangs up or takes nothing for `stall_s`."""

    status_code = 200

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        *,
        headers: Iterable[tuple[bytes, bytes]],
        stall_s: float,
        on_close: Callable[[], None] | None = None,
        on_gone: Callable[[], None] | None = None,
    ) -> None:
        """`on_gone` is called if the caller left before the last piece, before `on_close`."""
        self.headers: RawHeaders = list(headers)
        self._pieces = pieces
        self._stall = _Stall(stall_s)
        self._on_close = on_close
        self._on_gone = on_gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the pieces end."""
        del scope
        sending = asyncio.create_task(self._send(send), name="stream send")
        self._stall.watches(sending)
        leaving = asyncio.create_task(until_gone(receive), name="stream watch")
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            has_left = self._stall.has_come or not sending.done()
            if has_left and self._on_gone is not None:
                self._on_gone()
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.wait({sending, leaving})
            if self._on_close is not None:
                self._on_close()
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error

    async def _send(self, send: Send) -> None:
        stall = self._stall
        try:
            stall.begins()
            await send({"type": "http.response.start", "status": 200, "headers": self.headers})
            stall.is_over()
            async for piece in self._pieces:
                stall.begins()
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                stall.is_over()
            stall.begins()
            await send({"type": "http.response.body", "body": b""})
        finally:
            stall.close()
            await self._pieces.aclose()  # type: ignore[attr-defined]  # every iterator given here is a generator


class _Stall:
    """Ends the sending to a caller that takes nothing; one timer runs on through many pieces."""

    __slots__ = ("_ends_at", "_limit_s", "_loop", "_sending", "_timer", "has_come")

    def __init__(self, limit_s: float) -> None:
        self.has_come = False
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._ends_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def watches(self, sending: asyncio.Task[None]) -> None:
        self._sending = sending

    def begins(self) -> None:
        self._ends_at = self._loop.time() + self._limit_s
        if self._timer is None:
            self._timer = self._loop.call_at(self._ends_at, self._tick)

    def is_over(self) -> None:
        self._ends_at = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = None
        if self._ends_at is None or self._sending is None:
            return
        if self._loop.time() < self._ends_at:
            self._timer = self._loop.call_at(self._ends_at, self._tick)
            return
        self.has_come = True
        self._sending.cancel()


async def until_gone(receive: Receive) -> None:
    """Return when the caller has hung up. Only once the body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


def named_headers(scope: Scope) -> Mapping[str, str]:
    """The request's headers by lower-case name, decoded once; the last of equals wins."""
    found: dict[str, str] | None = scope.get("penstock.headers")
    if found is None:
        found = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        scope["penstock.headers"] = found
    return found


def list_header(scope: Scope, name: str) -> str | None:
    """All lines of a header whose value is a list, as one (RFC 9110, 5.3); None: there is none."""
    if name not in named_headers(scope):
        return None
    raw = name.encode()
    return ", ".join(value.decode("latin-1") for key, value in scope["headers"] if key == raw)


def problem(error: ApiError, *, path: str) -> Answer:
    """An error of the registry as an answer."""
    kind, details = error.kind, error.details
    headers = [
        (b"content-type", PROBLEM_TYPE.encode()),
        (b"x-should-retry", b"true" if kind.should_retry else b"false"),
        (b"cache-control", b"no-store"),
    ]
    if details.retry_after_s is not None:
        millis = max(1, round(details.retry_after_s * 1000))
        headers += [
            (b"retry-after", b"%d" % -(-millis // 1000)),
            (b"retry-after-ms", b"%d" % millis),
        ]
    headers += [(name.encode(), value.encode()) for name, value in details.headers.items()]
    return Answer(kind.status, dumps(problem_body(error, instance=path)), headers)
