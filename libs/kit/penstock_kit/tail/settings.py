"""Settings of the tail; gateway and notifier embed the group in their own."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from penstock_kit.settings import Group, Seconds

__all__ = ["TailSettings"]


class TailSettings(Group):
    """How much of the recent past a process keeps at hand."""

    ring_events: int = Field(
        default=20_000, gt=0, description="Most events kept for replay without Redis."
    )
    ring_bytes: int = Field(
        default=32 * 1024 * 1024, gt=0, description="Most memory for kept events, estimated."
    )
    lookback: Seconds = Field(
        default=timedelta(seconds=60),
        description="How far before its start a process begins to read, so that streams resume.",
    )
    catch_up: Seconds = Field(
        default=timedelta(seconds=10),
        description="Longest wait at start for the newest record; reading goes on in any case.",
    )
    stuck_after: Seconds = Field(
        default=timedelta(seconds=15),
        description="Unread records without progress for this long: the client is rebuilt.",
    )
