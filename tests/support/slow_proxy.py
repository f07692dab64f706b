"""A TCP proxy that delivers late, in pieces, and sometimes cuts the line."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

__all__ = ["slow_proxy"]

_PIECE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class _Line:
    """How an answer travels."""

    chance: random.Random
    late_s: float
    cut: float

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Server to client: late, and torn in two."""
        with _closed_after(writer):
            while piece := await reader.read(_PIECE_BYTES):
                await asyncio.sleep(self.chance.random() * self.late_s)
                half = self.chance.randrange(len(piece) + 1)
                writer.write(piece[:half])
                await writer.drain()
                if self.chance.random() < self.cut:
                    break
                await asyncio.sleep(self.chance.random() * self.late_s / 4)
                writer.write(piece[half:])
                await writer.drain()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Client to server, as it is."""
    with _closed_after(writer):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()


@contextlib.contextmanager
def _closed_after(writer: asyncio.StreamWriter) -> Iterator[None]:
    """Closes also when cancelled: an open writer would be found by a later test's collector."""
    try:
        with contextlib.suppress(ConnectionError):
            yield
    finally:
        writer.close()


@asynccontextmanager
async def slow_proxy(
    host: str, port: int, *, chance: random.Random, late_s: float, cut: float = 0.0
) -> AsyncIterator[int]:
    """Yields the port to connect to.

    Args:
        host: where the real server is.
        port: its port.
        chance: decides everything, so that a seed repeats a run.
        late_s: longest delay of a piece of an answer.
        cut: share of pieces after whose first half the line is cut.
    """
    line = _Line(chance, late_s, cut)
    tasks: set[asyncio.Task[None]] = set()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(host, port)
        for one in (line.answer(from_server, writer), _ask(reader, to_server)):
            task = asyncio.create_task(one)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()
