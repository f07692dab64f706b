"""Idempotency-Keys in Redis: `p:<fingerprint>` while pending, then `a:<fingerprint>`."""

from __future__ import annotations

from datetime import timedelta

from penstock_kit.redis_client import RedisClient, redis_errors
from penstock_kit.tenancy import TenantScope

from gateway.ports import Claimed

__all__ = ["RedisFingerprints"]


class RedisFingerprints:
    """`ports.Fingerprints` on Redis. One round trip per call."""

    def __init__(self, redis: RedisClient, *, ttl: timedelta) -> None:
        self._redis = redis
        self._ttl_s = max(1, int(ttl.total_seconds()))

    async def claim(
        self, scope: TenantScope, *, route: str, key: str, fingerprint: str
    ) -> Claimed | None:
        """See the port."""
        name = scope.idempotency_key(route, key)
        with redis_errors("taking an Idempotency-Key"):
            found = await self._redis.set(
                name, f"p:{fingerprint}", nx=True, get=True, ex=self._ttl_s
            )
        if found is None:
            return None
        text = found.decode() if isinstance(found, bytes) else str(found)
        return Claimed(fingerprint=text[2:], is_accepted=text.startswith("a:"))

    async def accepted(self, scope: TenantScope, *, route: str, key: str, fingerprint: str) -> None:
        """See the port."""
        name = scope.idempotency_key(route, key)
        with redis_errors("noting an accepted job"):
            await self._redis.set(name, f"a:{fingerprint}", ex=self._ttl_s)
