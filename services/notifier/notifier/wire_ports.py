"""What a WebSocket connection needs to know of the rest, and the set of all that are open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from websockets.http11 import Request

from notifier.metrics import NotifierMetrics

if TYPE_CHECKING:
    from notifier.wire import Wire

__all__ = ["SUBPROTOCOL", "Door", "Refusal", "SessionPort", "WireLimits", "WireSet"]

SUBPROTOCOL: Final = "penstock.v1.json"


@dataclass(frozen=True, slots=True)
class WireLimits:
    """How much may wait for a slow client, and for how long."""

    frames: int
    size_bytes: int
    stall_s: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """A handshake that is answered by HTTP."""

    status: HTTPStatus
    sentence: str


class SessionPort(Protocol):
    """What a connection tells its session."""

    def on_text(self, raw: bytes) -> None:
        """A whole text message."""
        ...

    def on_frame(self) -> bool:
        """A frame of any kind came; False if it is one too many."""
        ...

    def on_gone(self) -> None:
        """The connection is over."""
        ...


class Door(Protocol):
    """Decides who may connect."""

    def refusal(self, request: Request) -> Refusal | None:
        """Why the handshake is refused, or None."""
        ...

    def open(self, wire: Wire, request: Request) -> SessionPort:
        """The session of an accepted connection; it may close the connection at once."""
        ...


class WireSet:
    """The open connections of a server."""

    def __init__(self, metrics: NotifierMetrics) -> None:
        self._wires: set[Wire] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._gauge = metrics.sockets

    def add(self, wire: Wire) -> None:
        """Count a connection in."""
        self._wires.add(wire)
        self._empty.clear()
        self._gauge.inc()

    def discard(self, wire: Wire) -> None:
        """Count a connection out."""
        self._wires.discard(wire)
        self._gauge.dec()
        if not self._wires:
            self._empty.set()

    async def all_gone(self) -> None:
        """Return when no connection is left."""
        await self._empty.wait()

    def abort(self) -> None:
        """Cut every connection."""
        for wire in tuple(self._wires):
            wire.abort()
