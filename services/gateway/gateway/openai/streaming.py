"""A job's events as a stream of server-sent bytes: one path for every surface that streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

from penstock_contracts.codec import dumps
from starlette.requests import Request

from gateway.errors import ApiError, problem_body
from gateway.http import EVENT_STREAM, StreamAnswer
from gateway.mailbox import Closing
from gateway.openai.feed import SnapshotItem, is_end
from gateway.openai.under_way import Running, closed
from gateway.ports import StreamEvent

__all__ = ["DONE", "PING", "Chunks", "ChunkStreams", "error_chunk"]

DONE = b"data: [DONE]\n\n"
"""What ends a stream of chunks that is whole."""
PING = b": ping\n\n"


class Chunks(Protocol):
    """Turns events into the bytes of one surface."""

    def of(self, item: StreamEvent | SnapshotItem) -> bytes:
        """The bytes of one event, perhaps none.

        Raises:
            ApiError: the stream cannot go on.
        """
        ...

    def finish(self, output: Mapping[str, Any], usage: Mapping[str, Any] | None) -> bytes:
        """The last bytes of a job that completed.

        Raises:
            ApiError: what was sent is not what came out.
        """
        ...


class ChunkStreams:
    """Streams jobs. What fails before the first byte is an answer of its own, not a stream."""

    def __init__(self, *, stall_s: float) -> None:
        self._stall_s = stall_s

    async def answer(self, request: Request, running: Running, chunks: Chunks) -> StreamAnswer:
        """The answer to the caller; it closes `running`.

        Raises:
            ApiError: the job ended without output, or its caller is sent away.
            ClientGoneError: the caller has left.
        """
        pieces = _pieces(running, chunks)
        try:
            with running.names_its_errors():
                first = await running.unless_gone(request.receive, _first_of(pieces))
        except BaseException:
            running.close()
            raise
        return StreamAnswer(
            _whole(first, pieces),
            headers=(*EVENT_STREAM, *running.headers()),
            stall_s=self._stall_s,
            on_close=running.close,
            on_gone=running.left,
        )


def error_chunk(error: ApiError) -> bytes:
    """The error that ends a stream, in the shape that OpenAI's SDK raises."""
    told = problem_body(error, instance="")["error"]
    return b"data: %b\n\n" % dumps({"error": told})


async def _pieces(running: Running, chunks: Chunks) -> AsyncIterator[bytes]:
    """Bytes until the job is over; the first ones are output, a heartbeat or an error raised."""
    has_sent = False
    try:
        while True:
            items = await running.take(running.heartbeat_s)
            if not items:
                has_sent = True
                yield PING
                continue
            sent = b"".join([chunks.of(item) for item in items])
            if is_end(items[-1]):
                ending = await running.ending_of(items[-1])
                yield sent + chunks.finish(ending.completed_output(), ending.usage)
                return
            if sent:
                has_sent = True
                yield sent
    except Closing as closing:
        error = closed(closing.reason, running.job)
        if not has_sent:
            raise error from None
        yield error_chunk(error)
    except ApiError as error:
        if not has_sent:
            raise
        yield error_chunk(error)


async def _first_of(pieces: AsyncIterator[bytes]) -> bytes:
    return await anext(pieces, b"")


async def _whole(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for piece in rest:
            yield piece
    finally:
        with suppress(RuntimeError):
            await rest.aclose()  # type: ignore[attr-defined]  # it is a generator
