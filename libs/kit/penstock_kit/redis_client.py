"""One factory for Redis clients, and the one place where Redis' errors become ours."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from penstock_kit.jobs.view import TableAway
from penstock_kit.redis_wire import packed
from penstock_kit.settings import RedisSettings

__all__ = ["RedisClient", "Script", "connect_redis", "load_script", "redis_errors", "script_source"]

RedisClient = Redis
"""What `connect_redis` makes; named here so that nobody else imports the client library."""

_MAX_CONNECTIONS = 32
"""Per process. One loop cannot keep more busy; waiting callers queue in the pool instead of opening
sockets."""


def connect_redis(settings: RedisSettings, *, name: str) -> RedisClient:
    """A client with a limit on every wait; nothing is connected before the first command.

    Replies are bytes. A command on a connection that turned out dead is tried once more on a fresh
    one; one that timed out is not. A cancelled command closes its connection, so that nobody reads
    another caller's reply (redis-py CVE-2023-28858; tests/integration/test_redis_client.py holds it
    so).

    Args:
        settings: where Redis is and how long to wait for one answer.
        name: the process, as `CLIENT LIST` shows it.
    """
    timeout_s = settings.timeout.total_seconds()
    pool = BlockingConnectionPool.from_url(
        settings.url.get_secret_value(),
        max_connections=_MAX_CONNECTIONS,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        client_name=name,
        protocol=2,  # RESP3 brings push messages that an idle connection would have to drain
    )
    return Redis.from_pool(pool)


@contextmanager
def redis_errors(doing: str) -> Iterator[None]:
    """Turn every failure of Redis into `TableAway`; `doing` completes "Redis failed while ...".

    Errors that a command of ours provokes (wrong type, broken script) pass unchanged: they are
    faults of ours.

    Raises:
        TableAway: not reachable, too slow, loading, read-only or out of memory.
    """
    try:
        yield
    except ResponseError as error:
        if not _is_temporary(error):
            raise
        raise TableAway(f"Redis refused while {doing}: {error}; it is tried again") from error
    except (RedisError, OSError, TimeoutError) as error:
        raise TableAway(
            f"Redis did not answer while {doing} ({type(error).__name__}); check that it runs and "
            "that PENSTOCK_REDIS__URL is right"
        ) from error


def _is_temporary(error: ResponseError) -> bool:
    return isinstance(error, _TEMPORARY) or str(error).startswith(_TEMPORARY_CODES)


_REPLIES_PER_LIMIT = 16
"""So many replies of an exchange may take the client's time-out together."""

_TEMPORARY = (BusyLoadingError, OutOfMemoryError, ReadOnlyError)
_TEMPORARY_CODES = ("BUSY ", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MISCONF", "UNBLOCKED")
"""First words of Redis' replies that time or an operator mends."""


class Script:
    """A Lua script, sent by its hash and loaded where Redis does not know it (any more)."""

    def __init__(self, redis: RedisClient, source: str) -> None:
        self._redis = redis
        self._source = source
        self._sha = hashlib.sha1(source.encode()).hexdigest()  # noqa: S324 - how Redis names scripts

    async def run(self, keys: Sequence[str], args: Sequence[str | bytes | int | float]) -> Any:
        """Run once and return its reply; errors are those of redis-py."""
        try:
            return await self._redis.evalsha(self._sha, len(keys), *keys, *args)
        except NoScriptError:
            return await self._redis.evalsha(await self._load(), len(keys), *keys, *args)

    async def run_many(
        self, calls: Sequence[tuple[Sequence[str], Sequence[str | bytes | int | float]]]
    ) -> list[Any]:
        """Run for each (keys, args) in one round trip; raises the first error after all ran."""
        replies = await self._pipelined(calls)
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            await self._load()
            again = await self._pipelined([calls[at] for at in unknown])
            for at, reply in zip(unknown, again, strict=True):
                replies[at] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def _pipelined(
        self, calls: Sequence[tuple[Sequence[str], Sequence[str | bytes | int | float]]]
    ) -> list[Any]:
        commands = [packed(("EVALSHA", self._sha, len(keys), *keys, *args)) for keys, args in calls]
        try:
            return await self._exchange(commands)
        except RedisConnectionError:  # a connection that died while it was idle
            return await self._exchange(commands)

    async def _exchange(self, commands: Sequence[bytes]) -> list[Any]:
        """One round trip on a connection of the pool; refusals are among the replies."""
        pool = self._redis.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call] # redis-py's
        try:
            return await _exchanged(connection, commands)
        except BaseException:
            # Replies may be left on it: they must not become another caller's.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)

    async def _load(self) -> str:
        await self._redis.script_load(self._source)
        return self._sha


async def _exchanged(connection: Any, commands: Sequence[bytes]) -> list[Any]:
    """The replies; each few have the client's time-out: one per reply costs more than the reply."""
    loop, limit_s = asyncio.get_running_loop(), connection.socket_timeout
    replies = []
    async with asyncio.timeout(limit_s) as timeout:
        await connection.send_packed_command([b"".join(commands)], check_health=False)
        for at in range(len(commands)):
            if limit_s is not None and at % _REPLIES_PER_LIMIT == 0:
                timeout.reschedule(loop.time() + limit_s)
            replies.append(await _reply(connection))
    return replies


async def _reply(connection: Any) -> Any:
    try:
        return await connection.read_response(timeout=math.inf)
    except ResponseError as error:
        return error


def load_script(redis: RedisClient, name: str) -> Script:
    """One of the kit's scripts, `penstock_kit/jobs/lua/<name>.lua`."""
    return Script(redis, script_source(name))


def script_source(name: str) -> str:
    """The text of one of the kit's scripts."""
    return resources.files("penstock_kit.jobs").joinpath(f"lua/{name}.lua").read_text("utf-8")
