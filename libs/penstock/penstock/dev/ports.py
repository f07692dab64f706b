"""TCP ports of the loopback interface."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterable

from penstock.dev.jars import cache_dir

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
    """Hands out free ports, none twice: the wished one if it is free, else the system's choice.

    A wished port is this picker's until `release`: its server may bind it many seconds later, and
    gateways share a port without a word, so two stacks would get each other's requests.
    """

    def __init__(self, taken: Iterable[int] = ()) -> None:
        self._given = set(taken)
        self._locks: list[int] = []

    def pick(self, wished: int = 0) -> int:
        """A free port; `wished` 0 leaves the choice to the system."""
        if wished and wished not in self._given and is_free(wished) and self._lock(wished):
            self._given.add(wished)
            return wished
        while True:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind((LOOPBACK, 0))
                port = int(probe.getsockname()[1])
            if port not in self._given:
                self._given.add(port)
                return port

    def release(self) -> None:
        """Let others have the ports; works twice. The end of the process does the same."""
        while self._locks:
            os.close(self._locks.pop())

    def _lock(self, port: int) -> bool:
        """Whether no other picker of this user has the port."""
        folder = cache_dir() / "ports"
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._locks.append(file)
        return True
