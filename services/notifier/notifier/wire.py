"""One WebSocket connection: bytes in, frames out, bounded, without a task of its own.

The protocol (handshake, masks, fragments, UTF-8, close codes) is `websockets`' sans-I/O core.
Frames to clients pass it by: they are the same bytes for every socket.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, cast

import structlog
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from notifier.close_codes import INTERNAL, SLOW_CONSUMER, UNSUPPORTED, Close
from notifier.messages import MAX_MESSAGE_BYTES
from notifier.metrics import NotifierMetrics
from notifier.wire_ports import SUBPROTOCOL, Door, SessionPort, WireLimits, WireSet

__all__ = ["Wire"]

log = structlog.get_logger(__name__)

_HANDSHAKE_S: Final = 10.0
"""For the whole HTTP request: a browser needs milliseconds."""
_GOODBYE_S: Final = 5.0
"""For the client's part of the closing handshake; then the connection is cut."""
_HIGH_WATER: Final = 64 * 1024
"""Bytes handed to the transport before frames wait in the socket's own queue."""


class _Protocol(ServerProtocol):
    """Takes our subprotocol if it is offered, and clients that name none."""

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in subprotocols else None


class Wire(asyncio.Protocol):
    """Implements `Peer` over one connection."""

    __slots__ = (
        "_door",
        "_fragments",
        "_is_paused",
        "_limits",
        "_metrics",
        "_queue",
        "_queued_bytes",
        "_session",
        "_timer",
        "_transport",
        "_waiter",
        "_wires",
        "_ws",
        "is_closing",
    )

    def __init__(
        self, door: Door, limits: WireLimits, metrics: NotifierMetrics, *, wires: WireSet
    ) -> None:
        self._wires = wires
        self._door = door
        self._limits = limits
        self._metrics = metrics
        self._ws = _Protocol(max_size=MAX_MESSAGE_BYTES)
        self._session: SessionPort | None = None
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._queue: deque[bytes] | None = None
        self._queued_bytes = 0
        self._is_paused = False
        self._fragments: list[bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.is_closing = False

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected; the handshake is still to come."""
        self._transport = cast("asyncio.Transport", transport)
        self._wires.add(self)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER, low=_HIGH_WATER // 4)
        self._set_timer(_HANDSHAKE_S, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        try:
            self._ws.receive_data(data)
            for event in self._ws.events_received():
                if isinstance(event, Request):
                    self._shake_hands(event)
                elif isinstance(event, Frame) and not self.is_closing:
                    self._take(event)
            if self._ws.handshake_exc is not None and self._session is None:
                self._answer_garbage()
            self._flush()
        except Exception:
            log.exception("socket.failed")
            self._give_up()

    def eof_received(self) -> None:
        """The client has finished sending: so do we."""
        self._ws.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over, for whatever reason."""
        del exc
        self._wires.discard(self)
        self.is_closing = True
        self._set_timer(None)
        self._leave()

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        self._is_paused = True
        if not self.is_closing:
            self._watch_reader(self._transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client has read most of it."""
        self._is_paused = False
        if self.is_closing:
            return
        self._set_timer(None)
        while self._queue and not self._is_paused:
            frame = self._queue.popleft()
            self._queued_bytes -= len(frame)
            self._transport.write(frame)
        if not self._is_paused:
            self._queue = None
            self._release()

    # What the session asks for.

    @property
    def is_stalled(self) -> bool:
        """Whether frames wait for the client to read."""
        return self._is_paused

    def send(self, frame: bytes) -> None:
        """Write a frame, or keep it while the client is slow; never waits."""
        if self.is_closing:
            return
        self._metrics.frames.inc()
        if not self._is_paused:
            self._transport.write(frame)
        else:
            self._keep(frame)

    async def caught_up(self) -> None:
        """Return when the client has read what was sent, or is gone."""
        if self._is_paused and not self.is_closing:
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)

    def set_reading(self, *, is_on: bool) -> None:
        """Stop or go on taking messages."""
        if is_on == self._transport.is_reading() or self._transport.is_closing():
            return
        if is_on:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def ping(self) -> None:
        """Ask for a sign of life."""
        if self._ws.state is State.OPEN:
            self._ws.send_ping(b"")
            self._flush()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def close(self, code: int, reason: str) -> None:
        """Say goodbye and end; what still waits is dropped."""
        if self.is_closing:
            return
        self.is_closing = True
        self._leave()
        if self._ws.state is State.OPEN:
            self._ws.send_close(code, reason)
        else:
            self._transport.close()
        self._flush()
        self._set_timer(_GOODBYE_S, self._transport.abort)

    # Inside.

    def _shake_hands(self, request: Request) -> None:
        if self._ws.eof_sent:
            # What came right behind the request broke the protocol: there is nobody to talk to.
            self._metrics.refused.labels("400").inc()
            self.is_closing = True
            self._transport.abort()
            return
        refusal = self._door.refusal(request)
        if refusal is not None:
            response = self._ws.reject(refusal.status, refusal.sentence + "\n")
        else:
            response = self._ws.accept(request)
        self._ws.send_response(response)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self._set_timer(None)
            self._metrics.opened.inc()
            self._flush()
            self._session = self._door.open(self, request)
        else:
            self._metrics.refused.labels(str(response.status_code)).inc()
            self._set_timer(_GOODBYE_S, self._transport.abort)

    def _give_up(self) -> None:
        try:
            self._close_for(INTERNAL)
        except Exception:
            log.exception("socket.close_failed")
            self._transport.abort()

    def _answer_garbage(self) -> None:
        if not self.is_closing and self._ws.state is State.CONNECTING:
            self.is_closing = True
            self._metrics.refused.labels("400").inc()
            self._transport.write(_BAD_REQUEST)
            self._transport.close()

    def _take(self, frame: Frame) -> None:
        session = self._session
        if session is None or not session.on_frame():
            return
        if frame.opcode is Opcode.TEXT:
            self._fragments = [bytes(frame.data)]
        elif frame.opcode is Opcode.CONT and self._fragments is not None:
            self._fragments.append(bytes(frame.data))
        elif frame.opcode is Opcode.BINARY:
            self._close_for(UNSUPPORTED)
            return
        else:
            return
        if frame.fin:
            raw, self._fragments = b"".join(self._fragments), None
            if _is_utf8(raw):
                session.on_text(raw)
            else:
                self._metrics.closed.labels("not_utf8").inc()
                self.close(1007, "not UTF-8")

    def _keep(self, frame: bytes) -> None:
        if self._queue is None:
            self._queue = deque()
        is_full = len(self._queue) >= self._limits.frames
        is_heavy = self._queue and self._queued_bytes + len(frame) > self._limits.size_bytes
        if is_full or is_heavy:
            self._close_for(SLOW_CONSUMER)
            return
        self._metrics.queued.inc()
        self._queue.append(frame)
        self._queued_bytes += len(frame)

    def _close_for(self, close: Close) -> None:
        if not self.is_closing:
            self._metrics.closed.labels(close.name).inc()
            self.close(close.code, close.reason)

    def _flush(self) -> None:
        for chunk in self._ws.data_to_send():
            if self._transport.is_closing():
                break
            if chunk:
                self._transport.write(chunk)
            elif self._transport.can_write_eof():
                self._transport.write_eof()
        if self._ws.close_expected() and not self.is_closing:
            # The client closes, or broke the protocol: both ends say goodbye now.
            self.is_closing = True
            self._leave()
            self._set_timer(_GOODBYE_S, self._transport.abort)

    def _leave(self) -> None:
        """Nothing is sent and nobody is asked any more."""
        self._queue = None
        self._release()
        session, self._session = self._session, None
        if session is not None:
            session.on_gone()

    def _watch_reader(self, unread_bytes: int) -> None:
        """Close a client that reads nothing for too long; one that is only slow may go on."""

        def look() -> None:
            unread = self._transport.get_write_buffer_size()
            if unread < unread_bytes:
                self._watch_reader(unread)
            else:
                self._close_for(SLOW_CONSUMER)

        self._set_timer(self._limits.stall_s, look)

    def _release(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _set_timer(self, delay_s: float | None, callback: Any = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = (
            None if delay_s is None else asyncio.get_running_loop().call_later(delay_s, callback)
        )


_BAD_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\nContent-Length: 56\r\n\r\n"
    b"This is not an HTTP request; connect with a WebSocket.\r\n"
)


def _is_utf8(raw: bytes) -> bool:
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
