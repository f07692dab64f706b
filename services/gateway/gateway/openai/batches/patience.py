"""A batch has time: it waits for what is away, until it is called back or out of time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

import structlog
from penstock_kit.errors import Busy, Retryable

from gateway.errors import ApiError

__all__ = ["PAUSE_S", "Closing", "patiently", "wait_for_store"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

PAUSE_S: Final = 1.0
"""Between tries where something is away."""


class Closing:
    """Why a batch ends before its lines do; the first reason counts. A key of `ABORTED`."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._closed = asyncio.Event()

    def close(self, reason: str) -> bool:
        """End the batch; False: it ends already."""
        if self.reason is not None:
            return False
        self.reason = reason
        self._closed.set()
        return True

    async def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """The call's result, however long a dependency is away.

    Raises:
        ApiError: a live caller would not be told to try again either.
    """
    while True:
        try:
            return await call()
        except ApiError as error:
            if not error.kind.should_retry:
                raise
            log.warning("batch.waits", code=error.kind.code)
        except (Busy, Retryable) as error:
            log.warning("batch.waits", error=str(error))
        await asyncio.sleep(PAUSE_S)


async def wait_for_store(error: Retryable) -> None:
    """An `OnAway` of stored files that never gives up."""
    log.warning("batch.waits", error=str(error))
    await asyncio.sleep(PAUSE_S)
