"""Who gives a command, as records of it tell later."""

from __future__ import annotations

import getpass
import socket
from contextlib import suppress

__all__ = ["operator"]

_MAX_CHARS = 128


def operator() -> str:
    """Who does it, as far as this machine knows: `user@host`, at most 128 characters."""
    name = "unknown"
    with suppress(OSError, KeyError):  # a container may have no name for its user
        name = getpass.getuser()
    return f"{name}@{socket.gethostname()}"[:_MAX_CHARS]
