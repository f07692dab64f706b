"""Finished lines until the batch is over: in two nameless files of this machine, not in memory."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final, cast

__all__ = ["Spool"]

_CHUNK_BYTES: Final = 1024 * 1024


class Spool:
    """Takes lines, gives them back once. Both files are gone with the process, however it ends."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file = cast("BinaryIO", tempfile.TemporaryFile(prefix="penstock-batch-", dir=folder))  # noqa: SIM115 - closed by `close`
        self.lines = 0

    def add(self, line: bytes) -> None:
        """One line without its line feed."""
        self._file.write(line + b"\n")
        self.lines += 1

    async def chunks(self) -> AsyncIterator[bytes]:
        """Everything that was added; may be asked for again."""
        await asyncio.to_thread(self._file.seek, 0)
        while chunk := await asyncio.to_thread(self._file.read, _CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        """Throw it away."""
        self._file.close()
