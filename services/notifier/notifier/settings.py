"""Settings of the notifier."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from penstock_kit.settings import Group, PlatformSettings, Seconds, require
from penstock_kit.tail.settings import TailSettings
from penstock_kit.webhooks.settings import WebhookSettings
from pydantic import Field, model_validator

from notifier.webhooks.settings import DeliverySettings

__all__ = ["FINISH_MARGIN", "NotifierGroup", "NotifierSettings"]

FINISH_MARGIN = timedelta(seconds=3)
"""For the last commits and for leaving the groups after running deliveries have ended."""


class NotifierGroup(Group):
    """`PENSTOCK_NOTIFIER__*`."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=8081, ge=0, le=65535, description="Port of `/v1/socket`; 0 picks a free one."
    )
    origins: list[str] = Field(
        default_factory=list,
        description='Web pages that may connect, as in the Origin header; "*" for any but null.',
    )
    auth_timeout: Seconds = Field(
        default=timedelta(seconds=5), description="Longest wait for the `auth` message."
    )
    send_timeout: Seconds = Field(
        default=timedelta(seconds=5), description="A reader that stands still for this long goes."
    )
    ping_interval: Seconds = Field(
        default=timedelta(seconds=25), description="Longest time between two pings; jittered."
    )
    max_age: Seconds = Field(
        default=timedelta(hours=1), description="Highest age of a socket; up to 10 % less."
    )
    max_subscriptions: int = Field(default=100, gt=0, description="Jobs followed per socket.")
    messages_per_second: int = Field(
        default=20, gt=0, description="Frames that a client may send; twice that in a burst."
    )
    queue_frames: int = Field(default=256, gt=0, description="Most frames waiting per socket.")
    queue_bytes: int = Field(
        default=1024 * 1024, gt=0, description="Most bytes waiting per socket."
    )
    max_connections: int = Field(default=20_000, gt=0, description="Sockets per process.")
    max_connections_per_tenant: int = Field(
        default=10_000, gt=0, description="Sockets of one tenant per process."
    )
    max_connections_per_user: int = Field(
        default=2_000, gt=0, description="Sockets of one user per process."
    )
    job_ttl: Seconds = Field(
        default=timedelta(days=30),
        description="An issued id that is older and not in the table is not found.",
    )
    tail: TailSettings = TailSettings()
    webhooks: DeliverySettings = DeliverySettings()


class NotifierSettings(PlatformSettings):
    """Everything that a notifier reads from its environment."""

    notifier: NotifierGroup = NotifierGroup()
    webhooks: WebhookSettings = WebhookSettings()

    @model_validator(mode="after")
    def _own_timeouts_fit(self) -> Self:
        require(
            self.notifier.ping_interval < self.notifier.max_age,
            "PENSTOCK_NOTIFIER__PING_INTERVAL must be below PENSTOCK_NOTIFIER__MAX_AGE",
        )
        require(
            self.notifier.webhooks.timeout < self.drain_timeout - FINISH_MARGIN,
            "PENSTOCK_NOTIFIER__WEBHOOKS__TIMEOUT must be more than"
            f" {FINISH_MARGIN.total_seconds():.0f} s below PENSTOCK_DRAIN_TIMEOUT, else deliveries"
            " are cut off while the notifier drains, and made again",
        )
        return self
