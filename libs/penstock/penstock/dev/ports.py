"""TCP ports of the loopback interface."""

from __future__ import annotations

import socket
from collections.abc import Iterable

__all__ = ["PortPicker", "accepts_connections", "is_free"]

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen there now; lingering connections do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def accepts_connections(port: int, *, timeout_s: float = 0.2) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=timeout_s).close()
    except OSError:
        return False
    return True


class PortPicker:
    """Hands out free ports, none twice: the wished one if it is free, else the system's choice."""

    def __init__(self, taken: Iterable[int] = ()) -> None:
        self._given = set(taken)

    def pick(self, wished: int = 0) -> int:
        """A free port; `wished` 0 leaves the choice to the system."""
        if wished and wished not in self._given and is_free(wished):
            self._given.add(wished)
            return wished
        while True:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind((LOOPBACK, 0))
                port = int(probe.getsockname()[1])
            if port not in self._given:
                self._given.add(port)
                return port
