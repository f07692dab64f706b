"""What the notifier needs of the world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from penstock_contracts.events import Position
from penstock_kit.auth.principal import Principal
from penstock_kit.streams.joining import Joined, StreamSink
from penstock_kit.tenancy import TenantScope

__all__ = ["Peer", "Streams", "TicketDesk"]


class TicketDesk(Protocol):
    """Redeems one-use tickets."""

    async def redeem(self, ticket: str) -> Principal:
        """The principal of a ticket, which is void from then on.

        Raises:
            AuthError: unknown, used or too old.
            TableAway: tickets cannot be checked now.
        """
        ...


class Streams(Protocol):
    """Gap-free streams; see `penstock_kit.streams.joining.JobStreams`."""

    async def join(
        self, scope: TenantScope, job: str, after: Position | None, sink: StreamSink
    ) -> Joined:
        """A job's stream after a place, or with a snapshot of all so far if `after` is None."""
        ...


class Peer(Protocol):
    """The client's end of a socket, as a session sees it."""

    @property
    def is_stalled(self) -> bool:
        """Whether frames wait for the client to read."""
        ...

    def send(self, frame: bytes) -> None:
        """Write a frame, or keep it while the client is slow; never waits."""
        ...

    async def caught_up(self) -> None:
        """Return when the client has read what was sent, or is gone."""
        ...

    def set_reading(self, *, is_on: bool) -> None:
        """Stop or go on taking messages: the network then holds the client back."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Say goodbye and end; what still waits is dropped."""
        ...

    def ping(self) -> None:
        """Ask for a sign of life."""
        ...


Headers = Sequence[tuple[str, str]]
