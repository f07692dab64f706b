"""Which batches were called back, for readers: known before whoever runs the batch has said so.

The order itself is in `ai.control.v1`, and the batch's state is written by whoever runs it. This
is a note beside that state: nobody who was told `cancelling` reads an earlier state afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from penstock_kit.redis_client import RedisClient, redis_errors
from penstock_kit.tenancy import TenantScope

__all__ = ["Recalls", "RedisRecalls"]

_KEPT = timedelta(days=2)
"""A batch is over within a day and a bit; then its own state says all."""


class Recalls(Protocol):
    """Notes of batches that were called back."""

    async def note(self, scope: TenantScope, batch: str, at: datetime) -> None:
        """Remember that a batch was called back; the first instant stays.

        Raises:
            TableAway: Redis does not answer.
        """
        ...

    async def asked(self, scope: TenantScope, batches: Sequence[str]) -> list[datetime | None]:
        """When each of the batches was called back; None: it was not, as far as is known.

        Raises:
            TableAway: Redis does not answer.
        """
        ...


class RedisRecalls:
    """Implements `Recalls`."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def note(self, scope: TenantScope, batch: str, at: datetime) -> None:
        """See `Recalls.note`."""
        with redis_errors("noting a cancel"):
            await self._redis.set(scope.batch_recall_key(batch), at.isoformat(), px=_KEPT, nx=True)

    async def asked(self, scope: TenantScope, batches: Sequence[str]) -> list[datetime | None]:
        """See `Recalls.asked`."""
        if not batches:
            return []
        with redis_errors("reading cancels"):
            values: Any = await self._redis.mget(
                [scope.batch_recall_key(batch) for batch in batches]
            )
        return [None if at is None else datetime.fromisoformat(at.decode()) for at in values]
