"""Everything about llm-worker that can be configured."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from penstock_contracts.item_ids import CONVERSATION_PREFIX
from penstock_kit.durations import Seconds
from penstock_kit.settings import Group, PlatformSettings, require
from pydantic import Field, model_validator

__all__ = ["LlmWorkerGroup", "LlmWorkerSettings"]

FINISH_MARGIN = timedelta(seconds=3)
"""Part of the drain time-out that is kept for flushing and leaving the group."""


class LlmWorkerGroup(Group):
    """`PENSTOCK_LLM_WORKER__*`."""

    group: str = Field(
        default="llm-worker", description="Consumer group; its tasks are the ones that are run."
    )
    max_in_flight: int = Field(
        default=256, ge=1, le=4096, description="Jobs at once in this process."
    )
    tenant_in_flight: int | None = Field(
        default=None,
        ge=1,
        description="Jobs of one tenant at once in this process; none: only the turns that tenants"
        " take bound it.",
    )
    dead_per_minute: int = Field(
        default=200,
        ge=1,
        description="So many dead letters within a minute stop the process, if more than half of "
        "all records end so: then the fault is hardly theirs.",
    )
    templates_dir: Path | None = Field(
        default=None, description="Folder of prompt templates `<name>.txt` or `<name>.md`."
    )
    delta_interval: timedelta = Field(
        default=timedelta(milliseconds=25),
        ge=timedelta(0),
        le=timedelta(seconds=1),
        description="Shortest time between two delta events of a job; the first goes at once.",
    )
    delta_interval_busy: timedelta = Field(
        default=timedelta(milliseconds=100),
        ge=timedelta(0),
        le=timedelta(seconds=1),
        description="What that time may grow to while many streams are open in a process.",
    )
    deltas_per_second: int = Field(
        default=1_000,
        ge=1,
        description="Delta events of all streams of a process together: streams that would send"
        " more send larger ones instead, as far as DELTA_INTERVAL_BUSY allows.",
    )
    delta_tokens: int = Field(
        default=64,
        ge=1,
        le=1024,
        description="A delta event goes out when so many tokens have been read.",
    )
    conversation_messages: int = Field(
        default=10, ge=2, le=200, description="Messages of a conversation that a call gets along."
    )
    conversation_items: int = Field(
        default=400,
        ge=2,
        le=2000,
        description="Messages that a conversation of `/v1/conversations` keeps; older ones go.",
    )
    conversation_ttl: Seconds = Field(
        default=timedelta(days=30), description="How long Redis keeps a silent conversation."
    )

    def kept_messages(self, conversation: str) -> int:
        """How many messages a conversation of that name keeps."""
        is_listed = conversation.startswith(CONVERSATION_PREFIX)
        return self.conversation_items if is_listed else self.conversation_messages


class LlmWorkerSettings(PlatformSettings):
    """The settings of the process."""

    llm_worker: LlmWorkerGroup = LlmWorkerGroup()

    @model_validator(mode="after")
    def _drains_in_time(self) -> LlmWorkerSettings:
        require(
            self.drain_timeout > FINISH_MARGIN,
            "PENSTOCK_DRAIN_TIMEOUT must be above 3 s: so much is kept for flushing",
        )
        return self
