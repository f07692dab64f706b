"""One Lua script on a connection of its own: calls that wait at the same time share a round trip.

For scripts on the path of every request. A command through the client's pool costs about three
times as much CPU as the script itself, and the calls of concurrent requests go one by one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from penstock_kit.redis_client import RedisClient
from penstock_kit.redis_wire import Argument, packed

__all__ = ["Argument", "ScriptLine"]

_MAX_CALLS = 256
"""Per round trip; a script of 50 us keeps Redis for 13 ms then."""


class _Call(NamedTuple):
    command: bytes
    reply: asyncio.Future[Any]


class ScriptLine:
    """Calls one script. Errors are those of redis-py; wrap calls into `redis_errors`.

    A connection that turned out dead is replaced and the calls are sent once more, so a script must
    stand being run twice. A caller who is cancelled leaves its reply to nobody else: replies are
    told apart by their order on a connection that only this class reads.
    """

    def __init__(self, redis: RedisClient, source: str) -> None:
        self._redis = redis
        self._timeout_s: float | None = redis.connection_pool.connection_kwargs.get(
            "socket_timeout"
        )
        self._source = source
        self._sha = hashlib.sha1(source.encode()).hexdigest()  # noqa: S324 - how Redis names scripts
        self._waiting: list[_Call] = []
        self._working: asyncio.Task[None] | None = None
        self._connection: Any = None

    async def call(self, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run the script once and return its reply."""
        return await self._queued(keys, arguments)

    async def call_many(
        self, calls: Iterable[tuple[Sequence[str], Sequence[Argument]]]
    ) -> list[Any]:
        """Run for each (keys, arguments), in order; raises the first error after all ran."""
        waiting = [self._queued(keys, arguments) for keys, arguments in calls]
        replies = await asyncio.gather(*waiting, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return replies

    def _queued(self, keys: Sequence[str], arguments: Sequence[Argument]) -> asyncio.Future[Any]:
        command = packed(("EVALSHA", self._sha, len(keys), *keys, *arguments))
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(command, reply))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(), name="script line")
        return reply

    async def stop(self) -> None:
        """Answer who waits, each within the client's time-out, then close; works twice."""
        if self._working is not None:
            await asyncio.wait({self._working})
        await self._close()

    async def _work(self) -> None:
        while self._waiting:
            calls, self._waiting = self._waiting[:_MAX_CALLS], self._waiting[_MAX_CALLS:]
            try:
                replies = await self._round_trip([call.command for call in calls])
            except Exception as error:  # noqa: BLE001 - every caller gets it
                replies = [error] * len(calls)
            for call, reply in zip(calls, replies, strict=True):
                if call.reply.done():
                    continue  # its caller was cancelled
                if isinstance(reply, Exception):
                    call.reply.set_exception(reply)
                else:
                    call.reply.set_result(reply)

    async def _round_trip(self, commands: list[bytes]) -> list[Any]:
        replies = await self._exchange(commands)
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            load = packed(("SCRIPT", "LOAD", self._source))
            again = await self._exchange([load, *(commands[at] for at in unknown)])
            for at, reply in zip(unknown, again[1:], strict=True):
                replies[at] = reply
        return replies

    async def _exchange(self, commands: list[bytes]) -> list[Any]:
        is_fresh = self._connection is None
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._send(commands)
        except TimeoutError:  # which is an OSError too, but a second try would only wait as long
            await self._close()
            raise
        except (RedisConnectionError, OSError):
            await self._close()
            if is_fresh:
                raise
        except BaseException:
            await self._close()
            raise
        return await self._exchange(commands)

    async def _send(self, commands: list[bytes]) -> list[Any]:
        pool = self._redis.connection_pool
        if self._connection is None:
            connection: Any = pool.make_connection()  # type: ignore[no-untyped-call]
            await connection.connect()
            connection.socket_timeout = None  # one limit per round trip instead of two per call
            self._connection = connection
        await self._connection.send_packed_command(commands, check_health=False)
        return [await self._reply() for _ in commands]

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as error:
            return error

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
