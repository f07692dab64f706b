"""Following a job: replay, then live events, as server-sent events that nobody parses here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from penstock_contracts.codec import encode_model
from penstock_contracts.events import TERMINAL, Position
from penstock_contracts.snapshot import Snapshot
from penstock_kit.auth.principal import Principal
from penstock_kit.tenancy import TenantScope

from gateway.mailbox import Closing, Mailbox
from gateway.metrics import GatewayMetrics
from gateway.ports import JoinedStream, StreamEvent, Streams
from gateway.standing import LapseOf, Standing

__all__ = ["EventFollower", "FollowLimits", "OpenStream"]

_PING = b": ping\n\n"
_MAX_RESUME_MS = 2000
"""Readers that were sent away come back within two seconds, spread out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowLimits:
    """How long to be silent, and how much may wait for a slow reader."""

    heartbeat: timedelta
    max_events: int
    max_bytes: int


class OpenStream:
    """A joined stream with its reader's mailbox. `close` must be called; it works twice."""

    def __init__(
        self, joined: JoinedStream, mailbox: Mailbox, *, on_close: Callable[[], None]
    ) -> None:
        self.joined = joined
        self.mailbox = mailbox
        self._on_close = on_close
        self._is_closed = False

    def close(self) -> None:
        """Leave the tail."""
        if not self._is_closed:
            self._is_closed = True
            self.joined.close()
            self.mailbox.discard()
            self._on_close()


class EventFollower:
    """Opens streams, and ends them all when the process drains."""

    def __init__(
        self,
        *,
        streams: Streams,
        lapse_of: LapseOf,
        limits: FollowLimits,
        metrics: GatewayMetrics,
        random: Random,
    ) -> None:
        self._streams = streams
        self._lapse_of = lapse_of
        self._limits = limits
        self._metrics = metrics
        self._random = random
        self._open: set[OpenStream] = set()
        self._is_draining = False

    async def open(self, scope: TenantScope, job: str, after: Position | None) -> OpenStream:
        """Join what the scope has of a job's stream; `after` None begins with a snapshot."""
        mailbox = Mailbox(max_events=self._limits.max_events, max_bytes=self._limits.max_bytes)
        joined = await self._streams.join(scope, job, after, _into(mailbox))
        stream = OpenStream(joined, mailbox, on_close=lambda: self._forget(stream))
        self._open.add(stream)
        self._metrics.streams.set(len(self._open))
        if self._is_draining:
            mailbox.close("drain")
        return stream

    async def frames(self, stream: OpenStream, principal: Principal) -> AsyncIterator[bytes]:
        """The frames of a stream until its job ends or the stream has to be resumed elsewhere."""
        try:
            joined = stream.joined
            first = list(joined.backlog)
            if joined.snapshot is not None:
                first.insert(0, _SnapshotEvent.of(joined.snapshot))
            # Something goes out at once, so that the reader sees that the stream is open.
            yield b"".join(map(_event_frame, first)) or _PING
            if joined.is_over:
                return
            async for frame in self._live(stream.mailbox, principal):
                yield frame
        except Closing as closing:
            self._metrics.streams_cut.labels(closing.reason).inc()
            yield self._resume_hint(closing.reason)
        finally:
            stream.close()

    def drain(self) -> None:
        """End every stream with a hint where to go on, and every later one too."""
        self._is_draining = True
        for stream in tuple(self._open):
            stream.mailbox.close("drain")

    async def _live(self, mailbox: Mailbox, principal: Principal) -> AsyncIterator[bytes]:
        heartbeat_s = self._limits.heartbeat.total_seconds()
        standing = Standing(principal, self._lapse_of, every_s=heartbeat_s)
        while True:
            standing.check()
            events = await mailbox.take(heartbeat_s)
            if not events:
                yield _PING
                continue
            yield b"".join(map(_event_frame, events))
            if _is_end(events[-1]):
                return

    def _forget(self, stream: OpenStream) -> None:
        self._open.discard(stream)
        self._metrics.streams.set(len(self._open))

    def _resume_hint(self, reason: str) -> bytes:
        pause_ms = self._random.randint(_MAX_RESUME_MS // 10, _MAX_RESUME_MS)
        return f": {reason}, come again with Last-Event-ID\nretry: {pause_ms}\n\n".encode()


@dataclass(frozen=True, slots=True)
class _SnapshotEvent:
    """A snapshot in the shape of an event."""

    position: Position
    value: bytes
    is_end: bool
    type: str = "snapshot"

    @classmethod
    def of(cls, snapshot: Snapshot) -> _SnapshotEvent:
        return cls(snapshot.position, encode_model(snapshot), snapshot.status.is_terminal)


def _into(mailbox: Mailbox) -> Callable[[StreamEvent | Snapshot], None]:
    def take(item: StreamEvent | Snapshot) -> None:
        mailbox.put(_SnapshotEvent.of(item) if isinstance(item, Snapshot) else item)

    return take


def _is_end(event: StreamEvent) -> bool:
    return event.type in TERMINAL or (isinstance(event, _SnapshotEvent) and event.is_end)


def _event_frame(event: StreamEvent) -> bytes:
    return _frame(event.type.encode(), event.position, event.value)


def _frame(kind: bytes, position: Position, value: bytes) -> bytes:
    if b"\n" in value or b"\r" in value:
        # JSON never needs line breaks; a foreign writer's pretty print is folded onto data lines.
        value = b"\ndata: ".join(value.splitlines())
    return b"event: %b\nid: %d-%d\ndata: %b\n\n" % (kind, *position, value)
