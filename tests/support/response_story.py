"""Stories of jobs for tests of response streams: what the log says, whole or merged anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from gateway.openai.ending import Ending
from gateway.openai.feed import SnapshotItem
from gateway.openai.responses.events import Event, ResponseEvents
from gateway.openai.responses.objects import ResponseFacts
from gateway.ports import StreamEvent
from penstock_contracts.events import DeltaEvent, JobStatus, Position
from penstock_contracts.parts import Delta, merge_counted
from penstock_contracts.snapshot import Snapshot
from penstock_kit.jobs.replay import counted_deltas, merge_events
from penstock_kit.jobs.view import StoredEvent

__all__ = ["JOB", "ResponseStory", "completed", "facts", "read"]

JOB = "job_0199f0a1b2c37d4e8f901a2b3c4d5e6f0123456789"
AT = "2026-11-21T12:00:00.000Z"


def facts(**echo: Any) -> ResponseFacts:
    """A response as it was asked for."""
    return ResponseFacts(job=JOB, created_at=1, echo={"model": "m", **echo})


@dataclass(frozen=True, slots=True)
class _Said:
    """Implements `StreamEvent`."""

    position: Position
    type: str
    value: bytes


@dataclass(slots=True)
class ResponseStory:
    """The log of one job, written event by event."""

    events: list[StreamEvent] = field(default_factory=list)
    attempt: int = 0
    seq: int = 0

    def starts(self) -> None:
        """Another attempt begins."""
        self.attempt, self.seq = self.attempt + 1, 0
        self._add("started", {"task": "chat", "worker": "w"})

    def resets(self) -> None:
        """What was sent before is void."""
        self._add("reset", {"reason": "retry"})

    def says(self, *deltas: Delta) -> None:
        """Pieces of output in one event."""
        plain = [delta.model_dump(exclude_none=True) for delta in deltas]
        self._add("delta", {"deltas": plain})

    def merged(self, count: int) -> list[StreamEvent]:
        """The log as replayed after the oldest `count` events were merged."""
        stored = [
            StoredEvent(event.position, event.type, event.value) for event in self.events[:count]
        ]
        merged: list[StreamEvent] = [*merge_events(stored, cap_bytes=1 << 20)]
        return [*merged, *self.events[count:]]

    def snapshot(self, count: int) -> SnapshotItem:
        """What stands for the first `count` events."""
        last = self.events[count - 1].position
        current = [e for e in self.events[:count] if e.position.attempt == last.attempt]
        found: list[tuple[Delta, int]] = []
        for event in current:
            if event.type == "delta":
                found += counted_deltas(DeltaEvent.model_validate_json(event.value))
        deltas, pieces = merge_counted(found)
        return SnapshotItem(
            Snapshot(
                job=JOB,
                status=JobStatus.RUNNING,
                attempt=last.attempt,
                seq=last.seq,
                deltas=deltas,
                pieces=pieces,
                had_reset=any(event.type == "reset" for event in current),
            )
        )

    def _add(self, kind: str, members: dict[str, Any]) -> None:
        self.seq += 1
        place = {"job": JOB, "attempt": self.attempt, "seq": self.seq, "at": AT}
        value = orjson.dumps({"type": kind, **place, **members})
        self.events.append(_Said(Position(self.attempt, self.seq), kind, value))


def read(
    items: Sequence[StreamEvent | SnapshotItem], ending: Ending, *, begin: bool = True
) -> list[Event]:
    """All events that a reader gets of these."""
    events = ResponseEvents(facts())
    found = events.begin() if begin else []
    for item in items:
        found += events.of(item)
    return found + events.end(ending)


def completed(**choice: Any) -> Ending:
    """The end of a job that completed."""
    told = {"index": 0, "text": "", "finish_reason": "stop", **choice}
    usage = {"input_tokens": 1, "output_tokens": 2}
    return Ending(status="completed", output={"choices": [told]}, usage=usage, model="m")
