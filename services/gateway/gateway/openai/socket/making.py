"""Responses on a socket: new ones and resumed ones, as frames; and calling them back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import structlog
from penstock_kit.auth.principal import Principal

from gateway.cancel import Canceller
from gateway.errors import ApiError
from gateway.mailbox import Closing
from gateway.openai.object_ids import RESPONSE_PREFIX, job_of
from gateway.openai.responses.asked import ResponseAsks
from gateway.openai.responses.events import Event, ResponseEvents
from gateway.openai.responses.lookup import ResponseLookup
from gateway.openai.responses.objects import ResponseFacts
from gateway.openai.responses.readers import Readers
from gateway.openai.responses.streams import Cut, Source, translated
from gateway.openai.running import Came, Runner
from gateway.openai.socket.frames import error_frame, event_frame
from gateway.standing import lapsed

__all__ = ["Made", "ResponseMaker", "Speak"]

log = structlog.get_logger(__name__)

Speak = Callable[[str], Awaitable[None]]
Made = Callable[[str], Awaitable[None]]
"""Told of the id of a response as soon as it is known."""


class ResponseMaker:
    """What the sockets need of the area of responses."""

    def __init__(
        self,
        *,
        runner: Runner,
        asks: ResponseAsks,
        lookup: ResponseLookup,
        readers: Readers,
        canceller: Canceller,
    ) -> None:
        self._runner = runner
        self._asks = asks
        self._lookup = lookup
        self._readers = readers
        self._canceller = canceller

    async def create(
        self,
        principal: Principal,
        body: dict[str, Any],
        *,
        stream_id: str | None,
        speak: Speak,
        made: Made,
    ) -> None:
        """Make a response and speak its events to the end; what is wrong is spoken, too."""
        try:
            asked = await self._asks.read(Came(principal=principal, body=body, key=None))
            prepared = self._runner.prepare(principal, asked.ask, key=None, content=body)
            running = await self._runner.submit(prepared, asked.ask)
        except ApiError as error:
            await speak(error_frame(error, stream_id))
            return
        try:
            created_at = int(running.created_at.timestamp())
            facts = ResponseFacts(job=running.job, created_at=created_at, echo=asked.echo)
            await made(facts.object_id)
            await _tell(running, ResponseEvents(facts), Cut(None), stream_id, speak)
        finally:
            running.close()

    async def resume(
        self,
        principal: Principal,
        response_id: str,
        *,
        after: int | None,
        stream_id: str | None,
        speak: Speak,
        made: Made,
    ) -> None:
        """Speak the events of a response of before, after a number."""
        try:
            found = await self._lookup.find(principal, response_id)
            reader = await self._readers.at_stream(principal, found.state.job)
        except ApiError as error:
            await speak(error_frame(error, stream_id))
            return
        try:
            await made(found.facts.object_id)
            await _tell(reader, ResponseEvents(found.facts), Cut(after), stream_id, speak)
        finally:
            reader.close()

    async def cancel(
        self, principal: Principal, response_id: str, *, stream_id: str | None, speak: Speak
    ) -> None:
        """Call back a response that no lane follows, and speak its end, however it came."""
        try:
            found = await self._lookup.find(principal, response_id)
            reader = await self._readers.at_stream(principal, found.state.job)
        except ApiError as error:
            await speak(error_frame(error, stream_id))
            return
        try:
            await self._canceller.cancel(principal, found.state)
            await _tell(reader, ResponseEvents(found.facts), _EndAlone(), stream_id, speak)
        except ApiError as error:
            await speak(error_frame(error, stream_id))
        finally:
            reader.close()

    def call_back(self, principal: Principal, response_id: str) -> None:
        """Call back one that surely is the caller's and runs: no table is asked. Its lane tells.

        Raises:
            ApiError: broker_busy.
        """
        job = job_of(RESPONSE_PREFIX, response_id)
        assert job is not None, "it was made here"
        if not self._canceller.cancel_soon(principal, job):
            message = "the log takes nothing more at the moment; send it again"
            raise ApiError("broker_busy", message, retry_after_s=1.0)


class _EndAlone(Cut):
    """Lets nothing through, so that `_tell` speaks the end alone."""

    def __init__(self) -> None:
        super().__init__(None)

    def behind(self, events: Iterable[Event], *, is_lost: bool) -> list[Event]:
        """None of them."""
        del events, is_lost
        return []


async def _tell(
    source: Source, events: ResponseEvents, cut: Cut, stream_id: str | None, speak: Speak
) -> None:
    """Speak a stream to its end. A drain ends it without a word: the socket closes with 1012.

    Who asks for what comes behind the end is told the end again: over HTTP the answer would be
    over, but a socket stays open and would say nothing for ever.
    """
    found = events.begin()
    end = found[-1]
    last, has_spoken = 0, False
    try:
        async for more in translated(source, events):
            found += more
            last = max([last, *(event.number for event in found)])
            for event in cut.behind(found, is_lost=events.is_lost):
                await speak(event_frame(event.payload, stream_id))
                has_spoken = True
            if found:
                end, found = found[-1], []
        if not has_spoken:
            await speak(event_frame(end.payload, stream_id))
    except Closing as closing:
        if closing.reason != "drain":
            error = lapsed(closing.reason)
            await speak(error_frame(error, stream_id, sequence_number=last + 1))
    except ApiError as error:
        await speak(error_frame(error, stream_id, sequence_number=last + 1))
