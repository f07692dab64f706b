"""What the gateway needs of others: small Protocols that the kit and our adapters satisfy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from penstock_contracts.events import Position
from penstock_contracts.parts import BlobRef
from penstock_contracts.snapshot import Snapshot
from penstock_kit.auth.principal import Principal
from penstock_kit.tenancy import TenantScope

__all__ = [
    "Blobs",
    "JoinedStream",
    "StreamEvent",
    "Streams",
    "TicketDesk",
]


class StreamEvent(Protocol):
    """An event on its way to a reader: its place, its type and its JSON as it lies in the log."""

    @property
    def position(self) -> Position:
        """Place in the job's stream."""
        ...

    @property
    def type(self) -> str:
        """Event type."""
        ...

    @property
    def value(self) -> bytes:
        """The event's JSON."""
        ...


class JoinedStream(Protocol):
    """A stream that was joined: what came before, then live events into the sink until `close`."""

    @property
    def recovered(self) -> bool:
        """Whether nothing is missing; a snapshot without output may stand for some otherwise."""
        ...

    @property
    def snapshot(self) -> Snapshot | None:
        """What stands for events that cannot be replayed; None if the backlog is gap-free."""
        ...

    @property
    def backlog(self) -> Sequence[StreamEvent]:
        """Events after the asked position or the snapshot, in order."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the job has ended in what is here or before: nothing goes into the sink."""
        ...

    @property
    def close(self) -> Callable[[], None]:
        """End the live part; works twice."""
        ...


class Streams(Protocol):
    """Joins the stream of a job without a gap."""

    def begin(
        self,
        scope: TenantScope,
        job: str,
        sink: Callable[[StreamEvent | Snapshot], None],
    ) -> JoinedStream:
        """The stream of a job that is not written yet: everything goes to `sink`."""
        ...

    async def join(
        self,
        scope: TenantScope,
        job: str,
        after: Position | None,
        sink: Callable[[StreamEvent | Snapshot], None],
    ) -> JoinedStream:
        """Replay after a position (None: a snapshot), then hand live events to `sink`.

        The sink must not block. A snapshot in it stands for events that were lost on the way.
        """
        ...

    async def join_whole(
        self, scope: TenantScope, job: str, sink: Callable[[StreamEvent | Snapshot], None]
    ) -> JoinedStream:
        """As `join`, with everything that is kept from the begin on in the backlog.

        Older deltas in it may be merged; those say how many `pieces` they stand for.
        """
        ...


class Blobs(Protocol):
    """Large bodies outside of Kafka."""

    async def put(self, scope: TenantScope, job: str, kind: str, data: bytes) -> BlobRef:
        """Store and return the claim check; the same call again overwrites with the same.

        Raises:
            Rejected: `blob_too_large`.
            Retryable: the store is away.
        """
        ...

    def stream(self, scope: TenantScope, ref: BlobRef) -> AsyncIterator[bytes]:
        """The stored bytes in chunks, verified against the claim check.

        Raises:
            Rejected: the body is gone or damaged.
            Retryable: the store is away.
        """
        ...


class TicketDesk(Protocol):
    """Issues one-use tickets for sockets."""

    async def issue(self, principal: Principal) -> str:
        """A ticket that stands for the caller once, shortly.

        Raises:
            TableAway: Redis does not answer.
        """
        ...
