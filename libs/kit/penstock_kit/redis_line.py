"""One Lua script on a connection of its own: calls that wait at the same time share a round trip.

For scripts on the path of every request. A command through the client's pool costs several times
as much CPU as the script itself, and the calls of concurrent requests go one by one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from penstock_kit.redis_client import RedisClient
from penstock_kit.redis_pipe import RedisPipe, connect_pipe
from penstock_kit.redis_wire import Argument, packed

__all__ = ["Argument", "ScriptLine"]

_MAX_DUE = 256
"""Calls on their way; a script of 50 us keeps Redis for 13 ms then."""


class _Call:
    """A call until it is answered; sent again once if its connection or the script is gone."""

    __slots__ = ("command", "has_loaded", "may_repeat", "reply")

    def __init__(self, command: bytes, reply: asyncio.Future[Any]) -> None:
        self.command = command
        self.reply = reply
        self.may_repeat = True
        self.has_loaded = False


class ScriptLine:
    """Calls one script. Errors are those of redis-py; wrap calls into `redis_errors`.

    A connection that turned out dead is replaced and the calls are sent once more, so a script must
    stand being run twice. A caller who is cancelled leaves its reply to nobody else: replies are
    told apart by their order on a connection that only this class reads.
    """

    def __init__(self, redis: RedisClient, source: str) -> None:
        self._redis = redis
        self._source = source
        self._sha = hashlib.sha1(source.encode()).hexdigest()  # noqa: S324 - how Redis names scripts
        self._waiting: deque[_Call] = deque()
        self._open = 0
        self._all_answered = asyncio.Event()
        self._pipe: RedisPipe | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_loading = False
        self._is_woken = False

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

    async def stop(self) -> None:
        """Answer who waits, each within the client's time-out, then close; works twice."""
        if self._open:
            await self._all_answered.wait()
        if self._pipe is not None:
            self._pipe.close()

    def _queued(self, keys: Sequence[str], arguments: Sequence[Argument]) -> asyncio.Future[Any]:
        command = packed(("EVALSHA", self._sha, len(keys), *keys, *arguments))
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(command, reply))
        self._open += 1
        self._all_answered.clear()
        self._wake()
        return reply

    def _send(self) -> None:
        self._is_woken = False
        pipe = self._pipe
        if pipe is None or not pipe.is_open:
            if self._waiting and self._connecting is None:
                self._connecting = asyncio.create_task(self._connect(), name="script line")
            return
        room = _MAX_DUE - pipe.due
        calls = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        if calls:
            pipe.send([(call.command, partial(self._on_reply, call)) for call in calls])

    async def _connect(self) -> None:
        try:
            self._pipe = await connect_pipe(self._redis)
        except Exception as error:  # noqa: BLE001 - every caller gets it
            waiting, self._waiting = self._waiting, deque()
            for call in waiting:
                self._settle(call, error)
        finally:
            self._connecting = None
        self._is_loading = False
        self._send()

    def _on_reply(self, call: _Call, reply: Any) -> None:
        if isinstance(reply, NoScriptError) and not call.has_loaded:
            call.has_loaded = True
            self._load()
            self._again(call)
        elif isinstance(reply, RedisConnectionError) and self._is_lost() and call.may_repeat:
            call.may_repeat = False
            self._again(call)
        else:
            self._settle(call, reply)
            if self._waiting:
                self._wake()

    def _is_lost(self) -> bool:
        """Whether an error is the connection's: Redis refuses with connection errors, too."""
        return self._pipe is None or not self._pipe.is_open

    def _load(self) -> None:
        if self._is_loading or self._pipe is None:
            return
        self._is_loading = True
        self._pipe.send([(packed(("SCRIPT", "LOAD", self._source)), self._loaded)])

    def _loaded(self, _: Any) -> None:
        self._is_loading = False

    def _again(self, call: _Call) -> None:
        self._waiting.append(call)
        self._wake()

    def _wake(self) -> None:
        """Send in the next turn of the loop: calls of one turn go out together."""
        if not self._is_woken:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._send)

    def _settle(self, call: _Call, reply: Any) -> None:
        self._open -= 1
        if not self._open:
            self._all_answered.set()
        if call.reply.done():
            return  # its caller was cancelled
        if isinstance(reply, Exception):
            call.reply.set_exception(reply)
        else:
            call.reply.set_result(reply)
