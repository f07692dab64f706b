"""Just enough HTTP/1.1 for a test server: keep-alive, Content-Length bodies, chunked answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

__all__ = ["HttpConnection", "HttpRequest", "chunked", "plain_response"]

_MAX_REQUEST = 64 * 1024 * 1024
_REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A complete request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def plain_response(status: int, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A whole JSON response."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    )
    return head.encode() + body


def chunked(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class HttpConnection(asyncio.Protocol):
    """One client connection; requests are handed over one at a time.

    `on_request` answers by `write` and ends the answer with `finish`. `on_gone` is whom to tell
    when the client leaves in the middle of an answer.
    """

    def __init__(self, on_request: Callable[[HttpConnection, HttpRequest], None]) -> None:
        self._on_request = on_request
        self._buffer = bytearray()
        self._is_answering = False
        self.transport: asyncio.Transport | None = None
        self.on_gone: Callable[[], None] | None = None
        self.can_write = asyncio.Event()
        self.can_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the answer under way that its reader has gone."""
        del exc
        self.transport = None
        self.can_write.set()
        if self.on_gone is not None:
            self.on_gone()
            self.on_gone = None

    def pause_writing(self) -> None:
        """The reader is slow."""
        self.can_write.clear()

    def resume_writing(self) -> None:
        """The reader has caught up."""
        self.can_write.set()

    def data_received(self, data: bytes) -> None:
        """Collect and hand over."""
        self._buffer += data
        if len(self._buffer) > _MAX_REQUEST:
            self.abort()
        elif not self._is_answering:
            self._next_request()

    def write(self, data: bytes) -> None:
        """Send, if anybody still listens."""
        if self.transport is not None:
            self.transport.write(data)

    def finish(self) -> None:
        """The answer is complete; the next request may come."""
        self.on_gone = None
        self._is_answering = False
        if self._buffer:
            self._next_request()

    def abort(self) -> None:
        """Reset the connection."""
        if self.transport is not None:
            self.transport.abort()

    def _next_request(self) -> None:
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        lines = bytes(self._buffer[:head_end]).decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:])
        }
        end = head_end + 4 + int(headers.get("content-length", "0"))
        if len(self._buffer) < end:
            return
        body = bytes(self._buffer[head_end + 4 : end])
        del self._buffer[:end]
        method, path, *_ = lines[0].split(" ")
        self._is_answering = True
        self._on_request(self, HttpRequest(method, path.partition("?")[0], headers, body))
