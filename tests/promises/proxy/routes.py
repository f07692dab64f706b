"""One listening port per route; what flows through it can be cut, stalled, slowed or refused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Mode", "Route"]

_CHUNK = 64 * 1024


class Mode(StrEnum):
    """What a route does with bytes."""

    PASS = "pass"
    RESET = "reset"
    """Abort all connections now, then pass: an RST in the middle of anything."""
    REFUSE = "refuse"
    """Abort all connections, and every new one until told otherwise: the port is closed."""
    DROP = "drop"
    """Nothing arrives in either direction and nobody is told; what was sent arrives afterwards."""
    HALF_OPEN = "half_open"
    """Requests arrive, answers do not."""
    DELAY = "delay"
    """Every chunk arrives `delay_ms` later."""


@dataclass(slots=True)
class Route:
    """From a port of ours to a target port on the same machine."""

    name: str
    port: int
    target: int
    mode: Mode = Mode.PASS
    delay_ms: float = 0.0
    _upward: asyncio.Event = field(default_factory=asyncio.Event)
    _downward: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._upward.set()
        self._downward.set()
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, limit=_CHUNK, backlog=512
        )

    def set_mode(self, mode: Mode, *, delay_ms: float = 0.0) -> None:
        """Change the weather; open connections feel it at once."""
        self.mode = Mode.PASS if mode is Mode.RESET else mode
        self.delay_ms = delay_ms
        if mode in (Mode.RESET, Mode.REFUSE):
            for writer in tuple(self._open):
                writer.transport.abort()
        _gate(self._upward, is_open=mode is not Mode.DROP)
        _gate(self._downward, is_open=mode not in (Mode.DROP, Mode.HALF_OPEN))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode is Mode.REFUSE:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(
                "127.0.0.1", self.target, limit=_CHUNK
            )
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, up_writer}
        try:
            await asyncio.gather(
                self._pump(reader, up_writer, self._upward),
                self._pump(up_reader, writer, self._downward),
            )
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for end in (writer, up_writer):
                self._open.discard(end)
                end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        while data := await reader.read(_CHUNK):
            if self.delay_ms:
                await asyncio.sleep(self.delay_ms / 1000)
            await gate.wait()
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


def _gate(gate: asyncio.Event, *, is_open: bool) -> None:
    if is_open:
        gate.set()
    else:
        gate.clear()
