"""Every topic, declared once.

Create scripts, AsyncAPI, Strimzi resources and `topics/*.yaml` are rendered from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from penstock_contracts.requests import Priority

__all__ = [
    "BATCHES",
    "BATCH_EVENTS",
    "BATCH_REQUESTS",
    "BUILTIN_TASKS",
    "CONTROL",
    "CONVERSATIONS",
    "CREDENTIALS",
    "DEAD",
    "EVENTS",
    "FILES",
    "FIXED_TOPICS",
    "LARGEST_RECORD_BYTES",
    "RETRY_DELAYS_S",
    "STATE",
    "WEBHOOK_DELIVERIES",
    "WEBHOOK_ENDPOINTS",
    "Cleanup",
    "Topic",
    "all_topics",
    "request_topic",
    "request_topics",
    "retry_topic",
]

BUILTIN_TASKS: Final = (
    ("chat", "ai.chat.requests.v1", "llm-worker"),
    ("generate", "ai.generate.requests.v1", "llm-worker"),
    ("embed", "ai.embed.requests.v1", "embedder"),
    ("ingest", "ai.ingest.requests.v1", "embedder"),
    ("search", "ai.search.requests.v1", "embedder"),
    ("conversation", "ai.chat.requests.v1", "llm-worker"),
)
"""(task, base topic, worker group) of the tasks that every deployment has.

Changes of conversations share the topic of their turns: one key, one order.
"""

_DAY_MS: Final = 24 * 60 * 60 * 1000

_RECORD_BYTES: Final = 1_048_588
"""Kafka's own default limit of a record batch, so that any producer's defaults fit."""

_HEADER_RESERVE_BYTES: Final = 64 * 1024
"""Room for what we append.

A record that was accepted at the limit of its topic still fits the retries and dead letters.
"""

LARGEST_RECORD_BYTES: Final = _RECORD_BYTES + _HEADER_RESERVE_BYTES
"""The largest record of any topic; clients write and fetch at least this much."""


class Cleanup(StrEnum):
    """What the broker does with old records."""

    DELETE = "delete"
    COMPACT = "compact"
    COMPACT_DELETE = "compact,delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic. `partitions` is the production default; the embedded stack uses fewer.

    `retention_ms` is None where records are kept by key alone. `keeps_broker_time`: a record's
    timestamp is the broker's when it appended, not the producer's.
    """

    name: str
    key: str
    about: str
    partitions: int
    cleanup: Cleanup
    retention_ms: int | None
    messages: tuple[str, ...]
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]
    max_message_bytes: int = _RECORD_BYTES
    keeps_broker_time: bool = False

    @property
    def config(self) -> dict[str, str]:
        """The topic's settings as the broker takes them."""
        config = {
            "cleanup.policy": self.cleanup.value,
            "max.message.bytes": str(self.max_message_bytes),
        }
        if self.retention_ms is not None:
            config["retention.ms"] = str(self.retention_ms)
        if self.keeps_broker_time:
            config["message.timestamp.type"] = "LogAppendTime"
        return config


EVENTS = Topic(
    name="ai.jobs.events.v1",
    key="job id",
    about="Everything that happens to a job, in order of (attempt, seq).",
    partitions=24,
    cleanup=Cleanup.DELETE,
    retention_ms=7 * _DAY_MS,
    messages=(
        "queued",
        "started",
        "delta",
        "reset",
        "retrying",
        "completed",
        "failed",
        "cancelled",
        "expired",
        "unknown_outcome",
        "deleted",
    ),
    written_by=("gateway", "llm-worker", "embedder"),
    read_by=("notifier", "gateway", "recorder", "meter", "any service"),
)
STATE = Topic(
    name="ai.jobs.state.v1",
    key="job id; job id:request",
    about="What is known of a job, newest per job; and its request, where that is kept.",
    partitions=12,
    cleanup=Cleanup.COMPACT_DELETE,
    retention_ms=30 * _DAY_MS,
    messages=("state", "kept_request"),
    written_by=("recorder",),
    read_by=("recorder", "any service"),
)
CONVERSATIONS = Topic(
    name="ai.conversations.v1",
    key="tenant/conversation id",
    about="The last messages of a conversation after each finished turn.",
    partitions=12,
    cleanup=Cleanup.COMPACT,
    retention_ms=None,
    messages=("conversation",),
    written_by=("llm-worker",),
    read_by=("llm-worker", "recorder"),
)
CONTROL = Topic(
    name="ai.control.v1",
    key="scope",
    about="What operators and users tell running workers: cancels and rules.",
    partitions=1,
    cleanup=Cleanup.COMPACT_DELETE,
    retention_ms=7 * _DAY_MS,
    messages=("control",),
    written_by=("gateway", "notifier", "penstock"),
    read_by=("llm-worker", "embedder"),
)
CREDENTIALS = Topic(
    name="ai.credentials.v1",
    key="credential id",
    about="API keys (hashed) and producers.",
    partitions=1,
    cleanup=Cleanup.COMPACT,
    retention_ms=None,
    messages=("credential",),
    written_by=("penstock",),
    read_by=("gateway", "notifier", "llm-worker", "embedder", "recorder"),
)
DEAD = Topic(
    name="ai.dead.v1",
    key="as the source",
    about="Records that can never be handled: original bytes and headers, and why.",
    partitions=6,
    cleanup=Cleanup.DELETE,
    retention_ms=30 * _DAY_MS,
    messages=("dead", "dead_resolution"),
    written_by=("llm-worker", "embedder", "gateway", "notifier", "penstock"),
    read_by=("penstock",),
    max_message_bytes=LARGEST_RECORD_BYTES,
)
FILES = Topic(
    name="ai.files.v1",
    key="file id",
    about="Files that callers and batches keep in the blob store; a tombstone: deleted or expired.",
    partitions=6,
    cleanup=Cleanup.COMPACT,
    retention_ms=None,
    messages=("file",),
    written_by=("gateway",),
    read_by=("recorder",),
)
BATCH_REQUESTS = Topic(
    name="ai.batches.requests.v1",
    key="batch id",
    about="Batches to run: the one durable write of a POST /v1/batches.",
    partitions=12,
    cleanup=Cleanup.DELETE,
    retention_ms=7 * _DAY_MS,
    messages=("batch_request",),
    written_by=("gateway",),
    read_by=("gateway", "recorder"),
)
BATCHES = Topic(
    name="ai.batches.v1",
    key="batch id",
    about="What is known of a batch, newest per batch.",
    partitions=6,
    cleanup=Cleanup.COMPACT_DELETE,
    retention_ms=30 * _DAY_MS,
    messages=("batch",),
    written_by=("gateway",),
    read_by=("recorder", "notifier", "any service"),
)
BATCH_EVENTS = Topic(
    name="ai.batches.events.v1",
    key="batch id",
    about="Every line of a batch as it ends, and every state that a batch enters.",
    partitions=12,
    cleanup=Cleanup.DELETE,
    retention_ms=7 * _DAY_MS,
    messages=("batch_event",),
    written_by=("gateway",),
    read_by=("recorder", "any service"),
)
WEBHOOK_ENDPOINTS = Topic(
    name="ai.webhooks.endpoints.v1",
    key="endpoint id, endpoint id/suspension or endpoint id/success",
    about="Addresses that want to be told of a tenant's events, and how they fare.",
    partitions=1,
    cleanup=Cleanup.COMPACT,
    retention_ms=None,
    messages=("webhook_endpoint",),
    written_by=("gateway", "penstock", "notifier"),
    read_by=("gateway", "notifier", "penstock"),
)
WEBHOOK_DELIVERIES = Topic(
    name="ai.webhooks.deliveries.v1",
    key="endpoint id",
    about="What is to be sent to an endpoint: the body of the request, byte for byte.",
    partitions=12,
    cleanup=Cleanup.DELETE,
    retention_ms=7 * _DAY_MS,
    messages=("webhook_event",),
    written_by=("notifier", "gateway"),
    read_by=("notifier",),
)
FIXED_TOPICS: Final = (
    EVENTS,
    STATE,
    CONVERSATIONS,
    CONTROL,
    CREDENTIALS,
    FILES,
    BATCH_REQUESTS,
    BATCHES,
    BATCH_EVENTS,
    DEAD,
    WEBHOOK_ENDPOINTS,
    WEBHOOK_DELIVERIES,
)

RETRY_DELAYS_S: Final = (5, 30, 120, 600)
"""Longest wait of a record in each retry topic.

Similar waits share one, so that its head is due soon.
"""
_RETRY_NAMES: Final = {5: "5s", 30: "30s", 120: "2m", 600: "10m"}


def request_topic(base: str, priority: Priority) -> str:
    """The topic that carries jobs of a priority: `ai.chat.requests.v1`, `.high`, `.low`."""
    return base if priority is Priority.DEFAULT else f"{base}.{priority.value}"


def request_topics(task: str, base: str, *, workers: str) -> tuple[Topic, ...]:
    """The three topics of a task type."""
    return tuple(
        Topic(
            name=request_topic(base, priority),
            key="conversation id, else job id",
            about=f"Jobs of task {task}, priority {priority.value}.",
            partitions=12,
            cleanup=Cleanup.DELETE,
            retention_ms=7 * _DAY_MS,
            messages=("request",),
            written_by=("gateway", "any service"),
            read_by=(workers, "recorder"),
        )
        for priority in (Priority.HIGH, Priority.DEFAULT, Priority.LOW)
    )


def retry_topic(delay_s: int) -> Topic:
    """The topic whose records are due at most `delay_s` after the broker took them."""
    return Topic(
        name=f"ai.retries.v1.{_RETRY_NAMES[delay_s]}",
        key="as the source",
        about=f"Jobs and deliveries to be tried again at most {delay_s} s after the broker took the"
        " record.",
        partitions=6,
        cleanup=Cleanup.DELETE,
        retention_ms=7 * _DAY_MS,
        messages=("request", "webhook_event"),
        written_by=("llm-worker", "embedder", "notifier"),
        read_by=("llm-worker", "embedder", "notifier"),
        max_message_bytes=LARGEST_RECORD_BYTES,
        keeps_broker_time=True,
    )


def all_topics(tasks: Iterable[tuple[str, str, str]]) -> tuple[Topic, ...]:
    """Every topic of a deployment; `tasks` are (task, base topic, worker group)."""
    requests: dict[str, Topic] = {}
    for task, base, workers in tasks:
        for topic in request_topics(task, base, workers=workers):
            requests.setdefault(topic.name, topic)
    return (*requests.values(), *(retry_topic(delay) for delay in RETRY_DELAYS_S), *FIXED_TOPICS)
