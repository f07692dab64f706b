"""The body of an open response: read in large bites, past the layers between."""

from __future__ import annotations

import asyncio

import aiohttp
import httpx2

__all__ = ["ProviderBody"]


class ProviderBody:
    """Reads what aiohttp has received. Use from one task.

    The generators of the SDK, httpx2 and its aiohttp transport each cost a step per chunk, and a
    task that wakes for every chunk costs more than all that is done with it.
    """

    def __init__(self, response: httpx2.Response) -> None:
        """`response`: open and unread, from the SDK's aiohttp client."""
        self._content: aiohttp.StreamReader = (
            response.stream._stream._aiohttp_response.content  # type: ignore[union-attr] # noqa: SLF001 - no public way down
        )
        self._resting: asyncio.Future[None] | None = None
        self._content.on_eof(self._wake)

    async def read(self) -> bytes:
        """All that is there; waits for something. Empty at the end.

        Raises:
            aiohttp.ClientError, OSError: the connection broke, and what came before that is read.
        """
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            left = self._content._read_nowait(-1)  # noqa: SLF001 - aiohttp would drop it
            if left:
                return left
            if isinstance(error, RuntimeError):  # so aiohttp says that it gave up a broken framing
                raise aiohttp.ClientConnectionError(str(error)) from error
            raise

    async def rest(self, until: float) -> None:
        """Let more gather until that loop time, or until the last has come.

        A connection that breaks meanwhile is noticed by the next `read`.
        """
        loop = asyncio.get_running_loop()
        if until <= loop.time() or self._content.is_eof():
            return
        self._resting = loop.create_future()
        timer = loop.call_at(until, self._wake)
        try:
            await self._resting
        finally:
            timer.cancel()

    def _wake(self) -> None:
        if self._resting is not None and not self._resting.done():
            self._resting.set_result(None)
