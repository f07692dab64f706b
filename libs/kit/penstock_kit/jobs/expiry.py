"""Forgets jobs whose time is over, so that indexes and counts stay true."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from penstock_kit.clock import Clock
from penstock_kit.jobs.stored import TENANTS_KEY
from penstock_kit.redis_client import RedisClient, load_script, redis_errors
from penstock_kit.tenancy import TenantScope

__all__ = ["JobExpiry"]

_BATCH = 500


class JobExpiry:
    """Removes jobs by age; any number of processes may do it at once."""

    def __init__(self, redis: RedisClient, *, ttl: timedelta, clock: Clock) -> None:
        self._redis = redis
        self._ttl = ttl
        self._clock = clock
        self._expire = load_script(redis, "expire")

    async def sweep(self) -> int:
        """Remove all jobs that were created longer ago than the TTL; how many.

        Raises:
            TableAway: Redis does not answer; go on later.
        """
        with redis_errors("looking for tenants"):
            tenants = cast("set[bytes]", await self._redis.smembers(TENANTS_KEY))
        removed = 0
        for name in tenants:
            removed += await self._sweep_tenant(TenantScope(name.decode()))
        return removed

    async def _sweep_tenant(self, scope: TenantScope) -> int:
        latest = int((self._clock.now() - self._ttl).timestamp() * 1000)
        removed = 0
        while True:
            with redis_errors("removing old jobs"):
                old = await self._redis.zrangebyscore(
                    scope.index_key(), "-inf", latest, start=0, num=_BATCH
                )
                jobs = cast("list[bytes]", old)
                await self._expire.run_many([(_keys(scope, job.decode()), [job]) for job in jobs])
            removed += len(jobs)
            if len(jobs) < _BATCH:
                return removed


def _keys(scope: TenantScope, job: str) -> list[str]:
    events = scope.events_key(job)
    return [
        scope.job_key(job),
        events,
        f"{events}:prefix",
        scope.index_key(),
        scope.counts_key(),
        scope.request_key(job),
    ]
