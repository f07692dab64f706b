"""A shelf of records in Redis: the newest of each id, listed by time of creation.

Each record is a view of the newest one in a compacted topic: it can be put again at any time, and
an older version never replaces a newer one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from penstock_kit.jobs.stored import EPOCH_KEY
from penstock_kit.jobs.view import TableAway
from penstock_kit.redis_client import RedisClient, Script, redis_errors
from penstock_kit.tenancy import TenantScope

__all__ = ["PageAsk", "RedisShelf", "Shelf", "ShelfPage", "Shelved"]

_PUT = """
local known = redis.call('HGET', KEYS[1], 'v')
if known and tonumber(known) >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'j', ARGV[2], 'u', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[6])
local left = redis.call('PTTL', KEYS[1])
for key = 2, 3 do
  redis.call('ZADD', KEYS[key], ARGV[4], ARGV[5])
  if redis.call('PTTL', KEYS[key]) < left then redis.call('PEXPIRE', KEYS[key], left) end
end
return 1
"""

_SCAN = 200
"""Entries of an index that are read in one step of a listing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """One record on its way to a shelf.

    `keep_until` is when the view may forget it. `due_at` is when it expires and has to be swept up;
    None: it need not be.
    """

    scope: TenantScope
    user: str
    id: str
    version: int
    created_at: datetime
    keep_until: datetime
    value: bytes
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAsk:
    """Which records a page is about; `accepts` says of a record whether it belongs to it."""

    after: str | None = None
    limit: int = 20
    is_ascending: bool = False
    accepts: Callable[[bytes], bool] = lambda _: True


@dataclass(frozen=True, slots=True)
class ShelfPage:
    """Some records, in the order asked for."""

    values: list[bytes]
    has_more: bool


class Shelf(Protocol):
    """Reads and writes of a shelf. What is outside of the scope does not exist."""

    async def put(self, record: Shelved) -> bool:
        """Keep a record unless a newer version is there; whether it was news.

        Raises:
            TableAway: Redis does not answer.
        """
        ...

    async def drop(self, scope: TenantScope, record_id: str) -> None:
        """Forget a record.

        Raises:
            TableAway: Redis does not answer.
        """
        ...

    async def due(self, now: datetime, *, limit: int) -> list[tuple[TenantScope, str]]:
        """Records of all tenants that are due, the most overdue first.

        Raises:
            TableAway: Redis does not answer.
        """
        ...

    async def get(self, scope: TenantScope, record_id: str) -> bytes | None:
        """The newest version; None: unknown (yet), or outside of the scope.

        Raises:
            TableAway: Redis does not answer, or is being filled again and may not have it yet.
        """
        ...

    async def page(self, scope: TenantScope, ask: PageAsk) -> ShelfPage | None:
        """Records by time of creation; None: `ask.after` is not known.

        Raises:
            TableAway: Redis does not answer, or is being filled again and may have old versions.
        """
        ...


class RedisShelf:
    """Implements `Shelf`; `kind` names it in keys: `file`, `batch`.

    `is_final` says of a value that no newer version of it can come. While Redis is filled again,
    the others are not told: what stands there is what the log said first, not last.
    """

    def __init__(
        self,
        redis: RedisClient,
        kind: str,
        *,
        is_final: Callable[[bytes], bool] = lambda _: True,
    ) -> None:
        self._redis = redis
        self._kind = kind
        self._is_final = is_final
        self._put = Script(redis, _PUT)
        self._due_key = f"ps:due:{kind}"

    async def put(self, record: Shelved) -> bool:
        """See `Shelf.put`."""
        return (await self.put_many([record]))[0]

    async def put_many(self, records: Sequence[Shelved]) -> list[bool]:
        """As `put`, of many in one round trip, in order.

        Raises:
            TableAway: Redis does not answer.
        """
        if not records:
            return []
        with redis_errors("keeping records"):
            replies = await self._put.run_many(
                [(self._keys(record), _arguments(record)) for record in records]
            )
            due = {
                f"{record.scope.tenant}\n{record.id}": int(record.due_at.timestamp() * 1000)
                for record in records
                if record.due_at is not None
            }
            if due:
                await self._redis.zadd(self._due_key, due)
        return [reply == 1 for reply in replies]

    async def drop(self, scope: TenantScope, record_id: str) -> None:
        """See `Shelf.drop`; indexes forget it when they are read."""
        with redis_errors("dropping a record"):
            await self._redis.delete(scope.shelf_key(self._kind, record_id))
            await self._redis.zrem(self._due_key, f"{scope.tenant}\n{record_id}")

    async def due(self, now: datetime, *, limit: int) -> list[tuple[TenantScope, str]]:
        """See `Shelf.due`."""
        with redis_errors("looking for what is due"):
            members: Any = await self._redis.zrangebyscore(
                self._due_key, "-inf", int(now.timestamp() * 1000), start=0, num=limit
            )
        pairs = [member.decode().partition("\n") for member in members]
        return [(TenantScope(tenant), record_id) for tenant, _, record_id in pairs]

    async def get(self, scope: TenantScope, record_id: str) -> bytes | None:
        """See `Shelf.get`."""
        with redis_errors("reading a record"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hmget(scope.shelf_key(self._kind, record_id), ["j", "u"])
                pipe.exists(EPOCH_KEY)
                (value, user), is_whole = await pipe.execute()
        if value is not None and not scope.may_see(
            tenant=scope.tenant, user=(user or b"").decode()
        ):
            return None
        found: bytes | None = value
        if not is_whole and (found is None or not self._is_final(found)):
            raise _being_filled()
        return found

    async def page(self, scope: TenantScope, ask: PageAsk) -> ShelfPage | None:
        """See `Shelf.page`."""
        index = scope.shelf_index_key(self._kind, user=scope.user)
        place = 0
        if ask.after is not None:
            rank = await self._rank(index, ask.after, is_ascending=ask.is_ascending)
            if rank is None:
                return None
            place = rank + 1
        found: list[bytes] = []
        while True:
            ids = await self._ids(index, place, is_ascending=ask.is_ascending)
            found += [
                value
                for value in await self._values(scope, index, ids)
                if value is not None and ask.accepts(value)
            ]
            if len(found) > ask.limit or len(ids) < _SCAN:
                return ShelfPage(found[: ask.limit], len(found) > ask.limit)
            place += len(ids)

    def _keys(self, record: Shelved) -> list[str]:
        scope = TenantScope(record.scope.tenant)
        return [
            scope.shelf_key(self._kind, record.id),
            scope.shelf_index_key(self._kind),
            scope.shelf_index_key(self._kind, user=record.user),
        ]

    async def _rank(self, index: str, record_id: str, *, is_ascending: bool) -> int | None:
        with redis_errors("reading an index"):
            rank: Any = await (
                self._redis.zrank(index, record_id)
                if is_ascending
                else self._redis.zrevrank(index, record_id)
            )
        return None if rank is None else int(rank)

    async def _ids(self, index: str, place: int, *, is_ascending: bool) -> list[str]:
        with redis_errors("reading an index"):
            members: Any = await self._redis.zrange(
                index, place, place + _SCAN - 1, desc=not is_ascending
            )
        return [member.decode() for member in members]

    async def _values(
        self, scope: TenantScope, index: str, ids: Sequence[str]
    ) -> list[bytes | None]:
        if not ids:
            return []
        with redis_errors("reading records"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for record_id in ids:
                    pipe.hget(scope.shelf_key(self._kind, record_id), "j")
                pipe.exists(EPOCH_KEY)
                values: list[Any]
                *values, is_whole = await pipe.execute()
            gone = [name for name, value in zip(ids, values, strict=True) if value is None]
            if len(gone) > _SCAN // 2:
                # Read anew next time; dropping few at once would shift the places of other readers.
                await self._redis.zrem(index, *gone)
        if not is_whole and not all(value is None or self._is_final(value) for value in values):
            raise _being_filled()
        return values


def _arguments(record: Shelved) -> list[str | bytes | int | float]:
    return [
        record.version,
        record.value,
        record.user,
        int(record.created_at.timestamp() * 1000),
        record.id,
        int(record.keep_until.timestamp() * 1000),
    ]


def _being_filled() -> TableAway:
    return TableAway("the view in Redis is being filled again; wait until it is done")
