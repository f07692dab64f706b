"""Waiting for facts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from penstock_kit.errors import Busy
from penstock_kit.redis_client import RedisClient, redis_errors

__all__ = ["eventually", "redis_answers", "until"]


async def eventually(fact: Callable[[], Awaitable[Any]], *, within_s: float = 10) -> None:
    """Return once the fact holds."""
    async with asyncio.timeout(within_s):
        while not await fact():  # noqa: ASYNC110 - the fact lies in another process
            await asyncio.sleep(0.01)


async def until(fact: Callable[[], object], *, within_s: float = 10) -> None:
    """Return once the fact holds; for facts that have no event of their own."""
    async with asyncio.timeout(within_s):
        while not fact():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)


async def redis_answers(client: RedisClient) -> None:
    """Return once a server that was just started answers."""

    async def fact() -> bool:
        try:
            with redis_errors("starting"):
                return bool(await client.exists("anything") == 0)
        except Busy:
            return False

    await eventually(fact)
