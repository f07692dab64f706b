"""Clients of the outside as parts of the lifecycle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from penstock_kit.kafka.ports import Producer
from penstock_kit.redis_client import RedisClient

__all__ = ["Closings", "ProducerPart", "RedisPart"]


class RedisPart:
    """Closes the connections."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def start(self) -> None:
        """Connections are made by the first command: a gateway starts without Redis."""

    async def stop(self) -> None:
        """Works twice."""
        await self._redis.aclose()


class Closings:
    """Closes what endpoints have opened, once the server is gone."""

    def __init__(self, closings: list[Callable[[], Awaitable[None]]]) -> None:
        self._closings = closings

    async def start(self) -> None:
        """Everything opens by its first use."""

    async def stop(self) -> None:
        """Works twice."""
        for close in self._closings:
            await close()


class ProducerPart:
    """Stops within the lifecycle's own limits."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def start(self) -> None:
        """Return when the broker has answered."""
        await self._producer.start()

    async def stop(self) -> None:
        """Works twice."""
        await self._producer.stop()
