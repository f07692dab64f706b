"""An ASGI app on its own port, inside our loop and lifecycle: uvicorn without signal handlers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import uvicorn

from penstock_kit.errors import Fatal

__all__ = ["HttpServer", "PortTaken", "abort_socket", "bind", "socket_protocol"]

_ABORT = "penstock.abort"
_BACKLOG = 2048
"""Connections that may wait for accept; uvicorn's own default."""


class PortTaken(Fatal):
    """The address cannot be bound: another program has it, or it is not ours to take."""


def bind(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A listening socket; port 0 takes a free one, `reuse_port` lets replicas share it.

    Raises:
        PortTaken: the sentence names the address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the name of the standard library's parameter
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"cannot listen on {host}:{port} ({error.strerror}); stop the program that holds"
            " the port or choose another one"
        ) from error
    return listener


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals belong to `lifecycle.Service`; uvicorn would take them away from it.
        yield


def socket_protocol() -> type[asyncio.Protocol]:
    """Uvicorn's WebSockets over the sans-I/O core, whose connections an app can cut.

    An app that only returns leaves a client that reads nothing connected until the kernel gives up.
    Imported here: the library is an extra of the services that serve sockets.
    """
    from uvicorn.protocols.websockets.websockets_sansio_impl import (  # noqa: PLC0415 - see above
        WebSocketsSansIOProtocol,
    )

    class CuttableSocket(WebSocketsSansIOProtocol):
        def handle_connect(self, event: Any) -> None:
            super().handle_connect(event)
            if hasattr(self, "scope"):
                # The app's task has not begun yet.
                self.scope["extensions"][_ABORT] = {"abort": self.transport.abort}

    return CuttableSocket


def abort_socket(scope: Any) -> None:
    """Cut the connection of a socket now; what was not sent is lost."""
    found = scope.get("extensions", {}).get(_ABORT)
    if found is not None:
        found["abort"]()


class HttpServer:
    """A Part that serves an ASGI app; `stop` grants running requests `stop_grace`.

    The app gets no lifespan events: parts start and stop in `lifecycle.Service`. `options` go to
    `uvicorn.Config`.
    """

    def __init__(
        self,
        app: Any,
        *,
        host: str,
        port: int,
        reuse_port: bool = False,
        stop_grace: timedelta = timedelta(seconds=5),
        **options: Any,
    ) -> None:
        self._host = host
        self._port = port
        self._reuse_port = reuse_port
        self._config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(stop_grace.total_seconds())),
            **options,
        )
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port in use; before `start` the one that was asked for."""
        return self._port

    async def start(self) -> None:
        """Return when connections are accepted.

        Raises:
            PortTaken: the address cannot be bound.
        """
        listener = bind(self._host, self._port, reuse_port=self._reuse_port)
        self._port = listener.getsockname()[1]
        self._server = _Server(self._config)
        self._serving = asyncio.create_task(
            self._server.serve(sockets=[listener]), name=f"http :{self._port}"
        )
        # uvicorn has no event for this; with a bound socket it takes a turn or two of the loop.
        while not self._server.started and not self._serving.done():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.001)
        if self._serving.done():
            self._serving.result()

    async def stop(self) -> None:
        """Stop accepting, let running requests end, close what is left."""
        if self._server is None or self._serving is None:
            return
        self._server.should_exit = True
        await asyncio.wait({self._serving})
