"""Which process runs a batch: a lease with heartbeat, so that the next one knows when it died."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from typing import Protocol

import structlog

from penstock_kit.ending import end_tasks
from penstock_kit.errors import Busy
from penstock_kit.jobs.view import TableAway
from penstock_kit.redis_client import RedisClient, Script, redis_errors
from penstock_kit.tenancy import TenantScope

__all__ = ["BatchHeld", "BatchLeases", "Confirm", "Leases"]

log = structlog.get_logger(__name__)

_LEASE = timedelta(seconds=12)
"""A killed gateway's batches stand still for so long."""
_BEATS_PER_LEASE = 4

_RENEW = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_LEAVE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1"


class BatchHeld(Busy):
    """Another process runs the batch; it is looked at again soon."""


Confirm = Callable[[], Awaitable[None]]
"""Asks whether a lease is ours still: `BatchHeld` if another process runs the batch by now, which
one that was frozen has not heard of; `TableAway` if Redis does not answer."""


class Leases(Protocol):
    """Hands out leases."""

    def hold(
        self, scope: TenantScope, batch: str, *, on_lost: Callable[[], None]
    ) -> AbstractAsyncContextManager[Confirm]:
        """See `BatchLeases.hold`."""
        ...


class BatchLeases:
    """Hands out leases. `owner` is unique to this process.

    A lease is no fence: two that run a batch at once do no harm to its lines, whose ids are
    derived. It keeps them from doing everything twice, and whoever writes a state confirms it right
    before, so that an old state does not follow a newer one.
    """

    def __init__(self, redis: RedisClient, *, owner: str, lease: timedelta = _LEASE) -> None:
        self._redis = redis
        self._owner = owner
        self._lease_ms = int(lease.total_seconds() * 1000)
        self._renew = Script(redis, _RENEW)
        self._leave = Script(redis, _LEAVE)

    @asynccontextmanager
    async def hold(
        self, scope: TenantScope, batch: str, *, on_lost: Callable[[], None]
    ) -> AsyncIterator[Confirm]:
        """Run a batch inside of this; `on_lost` is told if somebody else has taken it over.

        Raises:
            BatchHeld: another process runs it.
            TableAway: Redis does not answer.
        """
        key = scope.batch_lease_key(batch)

        async def confirm() -> None:
            if not await self._beat(key):
                raise BatchHeld(
                    f"another gateway runs {batch}; looked at again soon",
                    retry_after_s=self._lease_ms / 1000 / _BEATS_PER_LEASE,
                )

        await confirm()
        beating = asyncio.create_task(self._keep(key, batch, on_lost), name=f"lease {batch}")
        try:
            yield confirm
        finally:
            await end_tasks(beating)
            with suppress(TableAway):
                await self._go(key)

    async def _keep(self, key: str, batch: str, on_lost: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(self._lease_ms / 1000 / _BEATS_PER_LEASE)
            try:
                is_ours = await self._beat(key)
            except TableAway as error:
                log.warning("batch.heartbeat_missed", batch=batch, error=str(error))
                continue
            if not is_ours:
                log.warning("batch.lease_lost", batch=batch)
                on_lost()
                return

    async def _beat(self, key: str) -> bool:
        with redis_errors("keeping the lease of a batch"):
            return bool(await self._renew.run([key], [self._owner, self._lease_ms]))

    async def _go(self, key: str) -> None:
        with redis_errors("leaving the lease of a batch"):
            await self._leave.run([key], [self._owner])
