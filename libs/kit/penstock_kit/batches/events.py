"""What happened to the lines of a batch, as kept in Redis for readers that come late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from redis.exceptions import ResponseError

from penstock_kit.jobs.stored import EPOCH_KEY
from penstock_kit.jobs.view import TableAway
from penstock_kit.redis_client import RedisClient, redis_errors
from penstock_kit.tenancy import TenantScope

__all__ = ["BatchEvents", "KeptEvent", "RedisBatchEvents"]

_KEPT = timedelta(days=7)
"""As long as the topic behind it."""
_PAGE = 500


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event of a batch: its number, its type, and its JSON as it lies in the log."""

    number: int
    type: str
    value: bytes


class BatchEvents(Protocol):
    """The events of batches, by number."""

    async def read(
        self, scope: TenantScope, batch: str, *, after: int, limit: int = _PAGE
    ) -> list[KeptEvent]:
        """Events beyond number `after` (-1: from the first), in order, at most `limit`.

        Raises:
            TableAway: Redis does not answer, or is being filled again and has none of them yet.
        """
        ...


class RedisBatchEvents:
    """Implements `BatchEvents`, and keeps what the recorder folds. Stream id = number + 1."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def keep(self, events: Sequence[tuple[TenantScope, str, KeptEvent]]) -> None:
        """Add events in order; one that is there already, or older than the newest, is skipped.

        Raises:
            TableAway: Redis does not answer.
        """
        if not events:
            return
        keys = {scope.batch_events_key(batch) for scope, batch, _ in events}
        with redis_errors("keeping events of batches"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for scope, batch, event in events:
                    pipe.xadd(
                        scope.batch_events_key(batch),
                        {"t": event.type, "v": event.value},
                        id=f"{event.number + 1}-0",
                    )
                for key in keys:
                    pipe.pexpire(key, _KEPT)
                replies = await pipe.execute(raise_on_error=False)
            for reply in replies:
                if isinstance(reply, Exception) and not _is_known(reply):
                    raise reply

    async def read(
        self, scope: TenantScope, batch: str, *, after: int, limit: int = _PAGE
    ) -> list[KeptEvent]:
        """See `BatchEvents.read`."""
        with redis_errors("reading events of a batch"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.xrange(scope.batch_events_key(batch), min=f"{after + 2}-0", count=limit)
                pipe.exists(EPOCH_KEY)
                entries, is_whole = await pipe.execute()
        if not entries and not is_whole:
            raise TableAway("the view in Redis is being filled again; wait until it is done")
        return [
            KeptEvent(int(entry.partition(b"-")[0]) - 1, fields[b"t"].decode(), fields[b"v"])
            for entry, fields in entries
        ]


def _is_known(error: Exception) -> bool:
    return isinstance(error, ResponseError) and "equal or smaller" in str(error)
