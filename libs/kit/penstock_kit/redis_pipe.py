"""One connection to Redis without waiting in between: commands out, replies in, told by order.

redis-py reads each reply through a stream, a task and two time-outs, which costs three times as
much CPU as this for a script of a few microseconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

from penstock_kit.redis_client import RedisClient

__all__ = ["RedisPipe", "connect_pipe"]

OnReply = Callable[[Any], None]
"""Gets the reply of one command, or the exception that stands for it."""


class RedisPipe(asyncio.Protocol):
    """Sends commands and hands each its reply, by their order. Everything runs on one loop.

    A connection that ends, or that says nothing for `timeout_s` while a reply is due, gives its
    error to every command that still waits, and is of no more use.
    """

    def __init__(self, connection: Any, *, timeout_s: float | None) -> None:
        """Go on where redis-py has connected and introduced itself; it must not close it."""
        # There is no public way to take a connection over.
        refusal = connection._parser.parse_error  # noqa: SLF001 - see above
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=refusal)
        self._writer = connection._writer  # noqa: SLF001 - kept, as it closes when it is collected
        connection._reader = connection._writer = None  # noqa: SLF001 - see above
        self._transport: asyncio.Transport = self._writer.transport
        self._transport.set_protocol(self)
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._due: deque[tuple[float, OnReply]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Whether commands can still be sent."""
        return self._error is None

    @property
    def due(self) -> int:
        """How many replies are still to come."""
        return len(self._due)

    def send(self, commands: Iterable[tuple[bytes, OnReply]]) -> None:
        """Send in one piece; must be open."""
        now = self._loop.time()
        pieces = []
        for command, on_reply in commands:
            pieces.append(command)
            self._due.append((now, on_reply))
        self._transport.write(b"".join(pieces))
        if self._timer is None and self._timeout_s is not None:
            self._timer = self._loop.call_later(self._timeout_s, self._look)

    def close(self) -> None:
        """End the connection; whoever still waits hears that it is lost."""
        self._transport.abort()
        self._give_up(RedisConnectionError("the connection was closed"))

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                _, on_reply = self._due.popleft()
                on_reply(reply)
        except (InvalidResponse, IndexError) as error:  # not Redis, or a reply that nobody asked
            self._give_up(RedisConnectionError(f"Redis answered what cannot be read: {error!r}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        self._give_up(RedisConnectionError(f"the connection was lost: {exc or 'closed by Redis'}"))

    def _look(self) -> None:
        self._timer = None
        if not self._due or self._timeout_s is None:
            return
        rest_s = self._due[0][0] + self._timeout_s - self._loop.time()
        if rest_s > 0:
            self._timer = self._loop.call_later(rest_s, self._look)
            return
        self._give_up(TimeoutError(f"Redis said nothing for {self._timeout_s} s"))
        self.close()

    def _give_up(self, error: Exception) -> None:
        if self._error is not None:
            return
        self._error = error
        if self._timer is not None:
            self._timer.cancel()
        due, self._due = self._due, deque()
        for _, on_reply in due:
            on_reply(error)


async def connect_pipe(redis: RedisClient) -> RedisPipe:
    """A connection of one's own with the client's address, credentials and limits.

    Raises:
        redis.exceptions.RedisError, OSError, TimeoutError: as redis-py gives them.
    """
    connection: Any = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    timeout_s = redis.connection_pool.connection_kwargs.get("socket_timeout")
    try:
        async with asyncio.timeout(timeout_s):
            await connection.connect()
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return RedisPipe(connection, timeout_s=timeout_s)
