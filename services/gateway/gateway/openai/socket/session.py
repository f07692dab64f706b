"""One client on its socket: it asks, lanes answer, one writer sends; somebody ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

import structlog
from penstock_kit.auth.principal import Principal

from gateway.admission.bodies import BodyBudget
from gateway.errors import ApiError
from gateway.http import Receive, Send
from gateway.openai.socket.close_codes import (
    AGED,
    INTERNAL,
    NOT_TEXT,
    REVOKED,
    SLOW,
    TOO_FAST,
    Close,
)
from gateway.openai.socket.frames import Cancel, Create, error_frame, open_frame, read_frame
from gateway.openai.socket.lanes import Lanes
from gateway.openai.socket.making import ResponseMaker
from gateway.openai.socket.outbox import Outbox, Stalled
from gateway.openai.socket.resuming import Resume
from gateway.standing import LapseOf

__all__ = ["Session", "SessionLimits"]

log = structlog.get_logger(__name__)

_GOODBYE_S: Final = 2.0
"""For what is still in the box when the socket is to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """What one socket may hold and ask.

    Attributes:
        frames, size_bytes: in the box on the way out.
        stall: longest wait for the client to take a frame.
        lanes, waiting: streams at once, and responses that wait on all of them.
        messages_per_s: from the client; twice as many at once.
        check: between two looks at the credential.
    """

    frames: int
    size_bytes: int
    stall: timedelta
    lanes: int
    waiting: int
    messages_per_s: float
    max_age: timedelta
    check: timedelta = timedelta(seconds=15)


class Session:
    """Runs until the client leaves or `end` is called. Its responses run on either way."""

    def __init__(
        self,
        principal: Principal,
        *,
        maker: ResponseMaker,
        limits: SessionLimits,
        lapse_of: LapseOf,
        bodies: BodyBudget,
        age_s: float,
    ) -> None:
        self.principal = principal
        self._bodies = bodies
        self._shares: set[ExitStack] = set()
        self._maker = maker
        self._limits = limits
        self._lapse_of = lapse_of
        self._age_s = age_s
        self._outbox = Outbox(max_frames=limits.frames, max_bytes=limits.size_bytes)
        self._lanes = Lanes(max_lanes=limits.lanes, max_waiting=limits.waiting)
        self._running: dict[str | None, str] = {}
        self._unwanted: set[str | None] = set()
        self._ending: asyncio.Future[Close] = asyncio.get_running_loop().create_future()
        self._credit = limits.messages_per_s * 2
        self._credit_at = asyncio.get_running_loop().time()

    def end(self, close: Close) -> None:
        """Close the socket; the first reason stays."""
        if not self._ending.done():
            self._ending.set_result(close)

    async def run(self, receive: Receive, send: Send, *, resume: Resume | None) -> Close | None:
        """Serve the client; why the socket was ended by us, None: the client left.

        After `SLOW` the client takes nothing: its connection is to be cut.
        """
        tasks = [
            asyncio.create_task(self._write(send), name="socket write"),
            asyncio.create_task(self._listen(receive), name="socket read"),
            asyncio.create_task(self._watch(), name="socket watch"),
        ]
        if resume is not None:
            self._lanes.put(resume.stream_id, lambda: self._resume(resume))
        try:
            first: set[asyncio.Future[Any]] = {self._ending, *tasks[:2]}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            close = self._ending.result() if self._ending.done() else None
            await self._lanes.close()
            self._outbox.close()
            if close is not None and close is not SLOW:
                await asyncio.wait({tasks[0]}, timeout=_GOODBYE_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._ending.cancel()
            for share in tuple(self._shares):
                self._give_back(share)
        return close

    async def _write(self, send: Send) -> None:
        async def send_text(frame: str) -> None:
            await send({"type": "websocket.send", "text": frame})

        try:
            await self._outbox.write(send_text, stall_s=self._limits.stall.total_seconds())
        except Stalled:
            self.end(SLOW)
        except OSError:
            return  # the client has left; so the reader says, too

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._age_s
        while (left_s := until - loop.time()) > 0:
            await asyncio.sleep(min(left_s, self._limits.check.total_seconds()))
            if self._lapse_of(self.principal) is not None:
                self.end(REVOKED)
                return
        self.end(AGED)

    async def _listen(self, receive: Receive) -> None:
        try:
            while not self._ending.done():
                message = await receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._take(message)
        except Exception as error:  # noqa: BLE001 - the edge: a fault of ours ends one socket, and is logged without its text, which may quote payload
            log.error("socket.failed", error=type(error).__name__)  # noqa: TRY400 - see above
            self.end(INTERNAL)
            await asyncio.shield(self._ending)

    async def _take(self, message: Any) -> None:
        text = message.get("text")
        if text is None:
            self.end(NOT_TEXT)
        elif not self._has_credit():
            self.end(TOO_FAST)
        else:
            await self._act(text.encode())

    async def _act(self, raw: bytes) -> None:
        stream_id: str | None = None
        try:
            frame = open_frame(raw)
            stream_id = frame.stream_id
            asked = read_frame(frame)
            if isinstance(asked, Create):
                self._put(asked, len(raw))
            else:
                self._cancel(asked)
        except ApiError as error:
            await self._outbox.put(error_frame(error, stream_id))

    def _put(self, asked: Create, size: int) -> None:
        """Let a response wait for its turn; its body counts until the log has it.

        Raises:
            ApiError: gateway_busy, too_many_streams.
        """
        share = ExitStack()
        share.enter_context(self._bodies.share()).hold(size)
        try:
            self._lanes.put(asked.stream_id, lambda: self._create(asked, share))
        except ApiError:
            share.close()
            raise
        self._shares.add(share)

    def _give_back(self, share: ExitStack) -> None:
        share.close()
        self._shares.discard(share)

    async def _create(self, asked: Create, share: ExitStack) -> None:
        async def made(response: str) -> None:
            self._give_back(share)
            await self._made(asked.stream_id, response)

        try:
            await self._following(
                asked.stream_id,
                self._maker.create(
                    self.principal,
                    asked.body,
                    stream_id=asked.stream_id,
                    speak=self._outbox.put,
                    made=made,
                ),
            )
        finally:
            self._give_back(share)

    async def _resume(self, resume: Resume) -> None:
        await self._following(
            resume.stream_id,
            self._maker.resume(
                self.principal,
                resume.response_id,
                after=resume.after,
                stream_id=resume.stream_id,
                speak=self._outbox.put,
                made=partial(self._made, resume.stream_id),
            ),
        )

    async def _made(self, stream_id: str | None, response_id: str) -> None:
        """A lane's response has its id; it may have been called back while it had none."""
        self._running[stream_id] = response_id
        if stream_id not in self._unwanted:
            return
        self._unwanted.discard(stream_id)
        try:
            self._maker.call_back(self.principal, response_id)
        except ApiError as error:
            await self._outbox.put(error_frame(error, stream_id))

    async def _following(self, stream_id: str | None, speaking: Awaitable[None]) -> None:
        try:
            await self._guarded(stream_id, speaking)
        finally:
            self._running.pop(stream_id, None)
            self._unwanted.discard(stream_id)

    async def _guarded(self, stream_id: str | None, speaking: Awaitable[None]) -> None:
        try:
            await speaking
        except Exception as error:  # noqa: BLE001 - the edge of a lane, as that of a request
            log.error("socket.response_failed", error=type(error).__name__)  # noqa: TRY400 - its text may quote payload
            message = "the gateway made a mistake; resume the response, or send it again"
            await self._outbox.put(error_frame(ApiError("internal_error", message), stream_id))

    def _cancel(self, asked: Cancel) -> None:
        """Call a response back; its end is told on its lane, or on the frame's if none follows it.

        Raises:
            ApiError: response_not_found, broker_busy, too_many_streams.
        """
        lane = asked.stream_id
        response_id = asked.response_id or self._running.get(lane)
        if response_id is not None and response_id in self._running.values():
            self._maker.call_back(self.principal, response_id)
        elif response_id is not None:
            # On a lane of its own: that of the frame may be busy for long.
            self._lanes.put(response_id, partial(self._cancel_elsewhere, response_id, lane))
        elif self._lanes.is_busy(lane):
            self._unwanted.add(lane)
        else:
            message = "Nothing to cancel: no response runs on this stream; give its 'response_id'."
            raise ApiError("response_not_found", message, param="response_id")

    async def _cancel_elsewhere(self, response_id: str, stream_id: str | None) -> None:
        cancelling = self._maker.cancel(
            self.principal, response_id, stream_id=stream_id, speak=self._outbox.put
        )
        await self._guarded(stream_id, cancelling)

    def _has_credit(self) -> bool:
        now, rate = asyncio.get_running_loop().time(), self._limits.messages_per_s
        self._credit = min(self._credit + (now - self._credit_at) * rate, rate * 2) - 1
        self._credit_at = now
        return self._credit >= 0
