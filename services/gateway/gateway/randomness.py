"""Random bytes for ids, bought in bulk: one system call for several hundred ids."""

from __future__ import annotations

import os

__all__ = ["RandomPool"]

_POOL_BYTES = 8192


class RandomPool:
    """Gives bytes of the operating system's generator, each once. One thread only."""

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        """`count` random bytes, at most 8192."""
        end = self._at + count
        if end > len(self._pool):
            self._pool, self._at, end = os.urandom(_POOL_BYTES), 0, count
        taken = self._pool[self._at : end]
        self._at = end
        return taken
