"""`PENSTOCK_NOTIFIER__WEBHOOKS__*`: how deliveries are made."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Self

from penstock_kit.settings import Group, Seconds, require
from pydantic import Field, model_validator

__all__ = ["DeliverySettings"]

_LONGEST_PAUSE = timedelta(days=3)
"""With jitter and a receiver's own wish still below what a retry topic keeps."""


def _schedule() -> list[Seconds]:
    """Pauses between tries: ten tries in a little more than three days.

    Source: Standard Webhooks 1.0, the schedule that it recommends.
    """
    hours = (2, 5, 10, 14, 20, 24)
    return [
        timedelta(seconds=5),
        timedelta(minutes=5),
        timedelta(minutes=30),
        *(timedelta(hours=hour) for hour in hours),
    ]


class DeliverySettings(Group):
    """How deliveries are made."""

    enabled: bool = Field(default=True, description="Whether this notifier delivers webhooks.")
    max_in_flight: int = Field(
        default=256, ge=1, le=4096, description="Requests at the same time, per process."
    )
    endpoint_in_flight: int = Field(
        default=8, gt=0, description="Requests at the same time to one endpoint, per process."
    )
    connect_timeout: Seconds = Field(
        default=timedelta(seconds=5), description="Longest wait for name, connection and TLS."
    )
    timeout: Seconds = Field(
        default=timedelta(seconds=15), description="Longest wait for a whole answer."
    )
    response_bytes: int = Field(
        default=64 * 1024,
        gt=0,
        description="Answers are thrown away; beyond this size unread, with their connection.",
    )
    schedule: list[Seconds] = Field(
        default_factory=_schedule,
        min_length=1,
        description="Pauses between tries, as a JSON list; up to a tenth is added by chance. After"
        " the last the delivery is given up.",
    )
    longest_asked: Seconds = Field(
        default=timedelta(days=1), description="Longest `Retry-After` of a receiver that counts."
    )
    disable_after: Seconds = Field(
        default=timedelta(days=5),
        description="An endpoint that took nothing for so long is suspended when a delivery to it"
        " is given up.",
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file of further authorities to trust."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        require(
            max(self.schedule) <= _LONGEST_PAUSE and self.longest_asked <= _LONGEST_PAUSE,
            "SCHEDULE and LONGEST_ASKED must not be above 3 days, else a retry topic may drop what"
            " waits",
        )
        require(self.connect_timeout <= self.timeout, "CONNECT_TIMEOUT must not be above TIMEOUT")
        return self
