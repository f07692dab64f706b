"""The listening end: accepts connections, keeps time, drains."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from typing import Final

import structlog
from penstock_kit.serving import bind

from notifier.desk import Desk
from notifier.metrics import NotifierMetrics
from notifier.wire import Wire
from notifier.wire_ports import Door, WireLimits, WireSet

__all__ = ["SocketServer"]

log = structlog.get_logger(__name__)

_TICK_S: Final = 1.0
_GOODBYE_S: Final = 3.0
"""For the closing handshakes of a drain; clients that do not answer are cut."""
_SEND_BUFFER_BYTES: Final = 256 * 1024
"""Kernel memory for a client that does not read; Linux doubles it. More would hide slow readers."""


class SocketServer:
    """A Part: `/v1/socket` on a port that replicas may share."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        door: Door,
        desk: Desk,
        limits: WireLimits,
        metrics: NotifierMetrics,
    ) -> None:
        self._host = host
        self._port = port
        self._door = door
        self._desk = desk
        self._limits = limits
        self._metrics = metrics
        self._wires = WireSet(metrics)
        self._server: asyncio.Server | None = None
        self._ticking: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port in use."""
        return self._port

    async def start(self) -> None:
        """Return when clients can connect."""
        _raise_file_limit()
        listener = bind(self._host, self._port, reuse_port=True)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._port = listener.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._make_wire, sock=listener, backlog=2048)
        self._ticking = loop.create_task(self._tick(), name="socket housekeeping")
        log.info("sockets.listening", host=self._host, port=self._port)

    def drain(self) -> None:
        """Take nobody new and send everybody away; `stop` waits for them."""
        if self._server is not None:
            self._server.close()
        self._desk.roster.drain()

    async def stop(self) -> None:
        """Drain, then cut who has not left; works twice and unstarted."""
        ticking, self._ticking = self._ticking, None
        if ticking is not None:
            ticking.cancel()
        self.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._wires.all_gone()
        self._wires.abort()
        for task in tuple(self._desk.tasks):
            task.cancel()
        if self._desk.tasks:
            await asyncio.wait(self._desk.tasks, timeout=_GOODBYE_S)
        self._server = None

    def _make_wire(self) -> Wire:
        return Wire(self._door, self._limits, self._metrics, wires=self._wires)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                self._desk.roster.tick()
            except Exception:
                log.exception("sockets.tick_failed")


def _raise_file_limit() -> None:
    """Every socket is an open file, and the usual soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
