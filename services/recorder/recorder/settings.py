"""The recorder's settings: `PENSTOCK_RECORDER__*` beside the shared groups."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from penstock_kit.jobs.fold import FoldPolicy
from penstock_kit.settings import Group, PlatformSettings, Seconds, require
from pydantic import Field, model_validator

__all__ = ["RecorderGroup", "RecorderSettings"]


class RecorderGroup(Group):
    """How much of a job is kept, and how long."""

    group: str = Field(default="recorder", description="Consumer group; replicas share it.")
    job_ttl: Seconds = Field(
        default=timedelta(days=30), description="Age at which a job is forgotten."
    )
    replay_ttl: Seconds = Field(
        default=timedelta(hours=6),
        description="How long after its last event a job's events can be replayed.",
    )
    replay_events: int = Field(
        default=512,
        ge=16,
        description="Events kept one by one per job; older ones are merged.",
    )
    replay_bytes: int = Field(
        default=1024 * 1024,
        ge=65536,
        description="Bytes of events kept per job, and of merged ones again.",
    )
    sweep_interval: Seconds = Field(
        default=timedelta(minutes=10), description="How often old jobs are looked for."
    )
    watch_interval: Seconds = Field(
        default=timedelta(milliseconds=500),
        description="How often it is checked that Redis still has the table.",
    )

    @property
    def policy(self) -> FoldPolicy:
        """The limits as the fold takes them."""
        return FoldPolicy(
            ttl=self.job_ttl,
            replay_ttl=self.replay_ttl,
            replay_events=self.replay_events,
            replay_bytes=self.replay_bytes,
        )


class RecorderSettings(PlatformSettings):
    """Everything that the recorder reads from its environment."""

    recorder: RecorderGroup = RecorderGroup()

    @model_validator(mode="after")
    def _replay_fits(self) -> Self:
        require(
            self.recorder.replay_ttl <= self.recorder.job_ttl,
            "PENSTOCK_RECORDER__REPLAY_TTL must not exceed PENSTOCK_RECORDER__JOB_TTL, "
            "else events outlive their job",
        )
        return self
