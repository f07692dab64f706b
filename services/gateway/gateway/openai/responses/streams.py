"""Responses as server-sent events: a new one from its first event, an old one from any place on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import Final, Protocol

from penstock_contracts.codec import dumps

from gateway.errors import ApiError
from gateway.http import EVENT_STREAM, StreamAnswer
from gateway.mailbox import Closing
from gateway.openai.ending import Ending
from gateway.openai.feed import SnapshotItem, is_end
from gateway.openai.responses.events import Event, ResponseEvents, event_bytes
from gateway.ports import StreamEvent
from gateway.standing import lapsed

__all__ = ["Cut", "ResponseStreams", "Source", "translated"]

_PING: Final = b": ping\n"
"""Without an empty line: OpenAI's client takes one behind an `id` for an event without data."""


_IN_PROGRESS: Final = 2
"""Up to here a reader has seen nothing of the output: it may begin with whatever is kept."""


class Source(Protocol):
    """A job's stream, batch by batch, from its begin."""

    @property
    def heartbeat_s(self) -> float:
        """Longest silence towards the caller."""
        ...

    async def take(self, timeout_s: float) -> list[StreamEvent | SnapshotItem]:
        """What has come, in order; nothing after the time-out.

        Raises:
            Closing: the caller has to be let go.
        """
        ...

    async def ending_of(self, item: StreamEvent | SnapshotItem) -> Ending:
        """What a terminal event tells.

        Raises:
            ApiError: the output is not to be had.
        """
        ...


class Cut:
    """Lets through what comes after a number; None: everything."""

    def __init__(self, after: int | None) -> None:
        self._after = -1 if after is None else after

    def behind(self, events: Iterable[Event], *, is_lost: bool) -> list[Event]:
        """The events that the reader has not had.

        Raises:
            ApiError: stream_position_gone, where one would be torn, or nobody knows any more.
        """
        if is_lost and self._after > _IN_PROGRESS:
            raise _gone("what came before it is no longer kept piece by piece")
        behind = [event for event in events if event.number > self._after]
        for event in behind:
            if event.first <= self._after:
                message = (
                    f"the events {event.first} to {event.number} are kept as one; come again with "
                    f"starting_after={event.first - 1} to get it whole, or {event.number} to skip "
                    "it"
                )
                raise _gone(message)
        return behind


class ResponseStreams:
    """Answers with streams. What is wrong before the first byte is an answer of its own."""

    def __init__(self, *, stall_s: float) -> None:
        self._stall_s = stall_s

    async def answer(
        self,
        source: Source,
        events: ResponseEvents,
        *,
        after: int | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
        on_close: Callable[[], None],
    ) -> StreamAnswer:
        """The answer; `on_close` is called when it is over.

        Raises:
            ApiError: stream_position_gone, or the output is not to be had.
        """
        pieces = _pieces(source, events, Cut(after))
        try:
            first = await anext(pieces)
        except BaseException:
            on_close()
            raise
        return StreamAnswer(
            _whole(first, pieces),
            headers=(*EVENT_STREAM, *headers),
            stall_s=self._stall_s,
            on_close=on_close,
        )


async def translated(source: Source, events: ResponseEvents) -> AsyncIterator[list[Event]]:
    """The events of a response as they happen, without the first ones of `begin`.

    An empty list is a sign of life. The first list comes at once, with what is there.

    Raises:
        Closing: the caller has to be let go.
        ApiError: the output is not to be had.
    """
    timeout_s = 0.0
    while True:
        items = await source.take(timeout_s)
        timeout_s = source.heartbeat_s
        found = [event for item in items for event in events.of(item)]
        if items and is_end(items[-1]):
            ending = await source.ending_of(items[-1])
            yield found + events.end(ending)
            return
        yield found


async def _pieces(source: Source, events: ResponseEvents, cut: Cut) -> AsyncIterator[bytes]:
    has_sent = False
    found = events.begin()
    last = 0
    try:
        async for more in translated(source, events):
            found += more
            last = max([last, *(event.number for event in found)])
            kept = cut.behind(found, is_lost=events.is_lost)
            found = []
            yield event_bytes(kept) or _PING
            has_sent = True
    except Closing as closing:
        if closing.reason != "drain":
            yield _error_event(lapsed(closing.reason), last + 1)
            return
        yield b": drain, come again with starting_after\n"
    except ApiError as error:
        if not has_sent:
            raise
        yield _error_event(error, last + 1)


async def _whole(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for piece in rest:
            yield piece
    finally:
        with suppress(RuntimeError):
            await rest.aclose()  # type: ignore[attr-defined]  # it is a generator


def _error_event(error: ApiError, number: int) -> bytes:
    payload = {
        "type": "error",
        "sequence_number": number,
        "code": error.kind.code,
        "message": error.detail,
        "param": error.details.param,
    }
    return b"event: error\ndata: %b\n\n" % dumps(payload)


def _gone(why: str) -> ApiError:
    message = (
        f"The stream cannot go on after starting_after: {why}. Without starting_after it begins "
        "anew; GET without stream has the response as it stands."
    )
    return ApiError("stream_position_gone", message, param="starting_after")
