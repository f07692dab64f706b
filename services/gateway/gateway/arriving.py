"""Reading bodies: how large one may be, and how fast it has to come.

What a body holds of this process is held from others, so no caller may take all day over it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from typing import Any, Final

from gateway.admission.bodies import BodyShare
from gateway.errors import ApiError
from gateway.http import ClientGoneError, Message, Receive

__all__ = ["Arriving", "read_body"]

_MIN_BYTES_PER_S: Final = 16 * 1024
"""128 kbit/s, below any line that somebody sends files through. The largest file takes three hours
and a half at most."""


async def read_body(
    headers: Mapping[str, str], receive: Receive, *, max_bytes: int, share: BodyShare
) -> bytes:
    """The whole body; one that is or becomes too large, or too slow, is refused without reading on.

    `share` is asked for room before a body of some size is read.

    Raises:
        ApiError: body_too_large, body_stalled, gateway_busy.
        ClientGoneError: the caller hung up.
    """
    announced = headers.get("content-length", "")
    size = int(announced[:20]) if announced.isdigit() else 0
    if size > max_bytes:
        raise _too_large(max_bytes)
    share.hold(size)
    first = _begin(receive)
    if isinstance(first, _Begun) or first.get("more_body", False):
        arriving = Arriving(receive, stall_s=share.stall_s, first=first)
        return await _gathered(arriving, max_bytes, share)
    if first["type"] == "http.disconnect":
        raise ClientGoneError
    body: bytes = first.get("body", b"")
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


async def _gathered(arriving: Arriving, max_bytes: int, share: BodyShare) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        try:
            message = await arriving.next()
        except TimeoutError:
            text = "the rest of the body did not come in time, nothing was done; send it again"
            raise ApiError("body_stalled", text, headers={"connection": "close"}) from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        piece = message.get("body", b"")
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        share.hold(size)
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


class Arriving:
    """The messages of one body, in order.

    Nothing may come for `stall_s`; and all waiting together may take as long, plus what the bytes
    take at the lowest rate. Time in which we do not wait, as for the store of files, is ours.
    """

    def __init__(
        self, receive: Receive, *, stall_s: float, first: Message | _Begun | None = None
    ) -> None:
        """`first` is what the first `receive` gave, if somebody has called it already."""
        self._receive = receive
        self._first = first
        self._stall_s = self._left_s = stall_s

    async def next(self) -> Message:
        """The next message.

        Raises:
            TimeoutError: it does not come in time.
        """
        coming = self._first or _begin(self._receive)
        self._first = None
        message = await self._in_time(coming) if isinstance(coming, _Begun) else coming
        self._left_s += len(message.get("body", b"")) / _MIN_BYTES_PER_S
        return message

    async def _in_time(self, coming: _Begun) -> Message:
        clock = asyncio.get_running_loop().time
        began = clock()
        async with asyncio.timeout(min(self._stall_s, self._left_s)):
            message = await coming
        self._left_s -= clock() - began
        return message


class _Begun:
    """The rest of a `receive` that has begun to wait."""

    __slots__ = ("_step", "_steps")

    def __init__(self, step: Any, steps: Generator[Any, Any, Message]) -> None:
        self._step = step
        self._steps = steps

    def __await__(self) -> Generator[Any, Any, Message]:
        try:
            yield self._step
        except BaseException as error:
            self._steps.throw(error)
            raise
        return (yield from self._steps)


def _begin(receive: Receive) -> Message | _Begun:
    """A message that is there already, as small bodies are; or what to wait for.

    So nearly no request needs a timer, which would cost it more than its body does.
    """
    steps = receive().__await__()
    try:
        step = next(steps)
    except StopIteration as end:
        message: Message = end.value
        return message
    return _Begun(step, steps)


def _too_large(max_bytes: int) -> ApiError:
    message = f"the body is larger than {max_bytes} bytes; send less, or split the job"
    # The rest of the body is not read, so the connection cannot be used again.
    return ApiError("body_too_large", message, headers={"connection": "close"})
