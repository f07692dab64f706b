"""Follows a job's stream over SSE or WebSocket, is cut off again and again, and resumes.

Nothing is judged here: every frame goes into the transcript as it came.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from tests.promises.journal import Journal

__all__ = ["Follower"]

_TERMINAL = frozenset({"completed", "failed", "cancelled", "expired", "unknown_outcome"})
_SILENCE_S = 12.0
"""A stream that says nothing for so long is dead for us: some faults tell nobody."""
_PAUSE_S = (0.1, 0.6)
_CUT_AFTER = 8
"""Frames after which a stream is cut on average, by us."""


class _Cut(Exception):
    """We break the connection now."""


@dataclass(slots=True)
class _Stream:
    """What one follower has heard of its job."""

    job: str
    place: tuple[int, int] = (0, 0)
    frames: list[dict[str, Any]] = field(default_factory=list)
    cuts: int = 0
    is_over: bool = False

    def hear(self, event: dict[str, Any], *, explicit: bool = False) -> None:
        """Note an event or a snapshot; keep what the checker needs of it."""
        kind = str(event["type"])
        place = (int(event["attempt"]), int(event["seq"]))
        frame: dict[str, Any] = {"type": kind, "at": time.time(), "place": place}
        for name in ("deltas", "output", "output_ref", "status", "error", "reason"):
            if event.get(name) is not None:
                frame[name] = event[name]
        if explicit:
            frame["recovered"] = False
        self.frames.append(frame)
        self.place = place if kind == "snapshot" else max(self.place, place)
        status = event.get("status") if kind == "snapshot" else kind
        self.is_over = self.is_over or status in _TERMINAL

    def mark(self, kind: str, **members: Any) -> None:
        """Note a cut or the beginning of a connection."""
        self.frames.append({"type": kind, "at": time.time(), **members})


@dataclass(frozen=True, slots=True)
class Follower:
    """One transcript line per followed job, at its end."""

    gateway: str
    notifier: str
    key: str
    session: aiohttp.ClientSession
    transcript: Journal
    random: Random
    cut_after: int = _CUT_AFTER

    async def follow(self, job: str, via: str, *, until: asyncio.Event) -> None:
        """Follow to the terminal event, however often it takes; `until` gives up."""
        stream = _Stream(job)
        try:
            while not stream.is_over and not until.is_set():
                try:
                    await (self._sse(stream) if via == "sse" else self._socket(stream))
                except _Cut:
                    stream.cuts += 1
                    stream.mark("cut")
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    stream.mark("broken", why=type(error).__name__)
                if not stream.is_over:
                    await asyncio.sleep(self.random.uniform(*_PAUSE_S))
        finally:
            self.transcript.write(
                via=via, job=job, over=stream.is_over, cuts=stream.cuts, frames=stream.frames
            )

    def _maybe_cut(self) -> None:
        if self.random.random() < 1 / self.cut_after:
            raise _Cut

    async def _sse(self, stream: _Stream) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        if stream.place != (0, 0):
            headers["Last-Event-ID"] = f"{stream.place[0]}-{stream.place[1]}"
        async with self.session.get(
            f"{self.gateway}/v1/jobs/{stream.job}/events",
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_SILENCE_S),
        ) as answer:
            if answer.status != 200:
                stream.mark("refused", status=answer.status)
                return
            stream.mark("open", after=stream.place)
            async for line in answer.content:
                if not line.startswith(b"data: "):
                    continue
                stream.hear(json.loads(line[6:]))
                if stream.is_over:
                    return
                self._maybe_cut()

    async def _socket(self, stream: _Stream) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        async with self.session.ws_connect(
            self.notifier,
            protocols=("penstock.v1.json",),
            headers=headers,
            timeout=aiohttp.ClientWSTimeout(ws_receive=_SILENCE_S, ws_close=0.5),
            autoping=True,
        ) as socket:
            request: dict[str, Any] = {"type": "subscribe", "job": stream.job}
            if stream.place != (0, 0):
                attempt, seq = stream.place
                request["position"] = {"attempt": attempt, "seq": seq}
            await socket.send_json(request)
            stream.mark("open", after=stream.place)
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return
                if not self._take(stream, json.loads(message.data)):
                    return
                if stream.is_over:
                    return
                self._maybe_cut()

    def _take(self, stream: _Stream, frame: dict[str, Any]) -> bool:
        """Whether the connection is still of use."""
        match frame["type"]:
            case "event":
                stream.hear(frame["event"])
            case "snapshot":
                stream.hear(frame)
            case "subscribed":
                stream.mark("subscribed", recovered=frame.get("recovered"))
            case "error":
                stream.mark("refused", code=frame.get("code"))
                return False
        return True
