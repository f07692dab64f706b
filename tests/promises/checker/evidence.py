"""Everything that was written down in a run, indexed."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

__all__ = ["CRASH_STATUS", "Call", "Event", "Evidence", "LogRecord"]

CRASH_STATUS = 86
"""Exit status of a worker that a poison job has killed."""
_EVENTS = "ai.jobs.events.v1"
_DEAD = "ai.dead.v1"
_REQUEST_TYPE = "penstock.job.request.v1"


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A record of a topic, bytes as they are."""

    topic: str
    partition: int
    offset: int
    at: float
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    value: bytes | None

    def header(self, name: str) -> str | None:
        """The last header of that name."""
        found = [raw for known, raw in self.headers if known == name]
        return found[-1].decode(errors="replace") if found and found[-1] is not None else None


@dataclass(frozen=True, slots=True)
class Event:
    """A job event; `at` is the broker's clock, in seconds."""

    job: str
    type: str
    attempt: int
    seq: int
    at: float
    partition: int
    offset: int
    body: dict[str, Any]


@dataclass(slots=True)
class Call:
    """A call that the provider charged. `ended` None: still running when the log was read."""

    number: int
    job: str
    attempt: int
    at: float
    ended: float | None = None
    how: str | None = None


@dataclass(frozen=True)
class Evidence:
    """A folder of evidence; read on demand, once."""

    folder: Path
    _records: dict[str, list[LogRecord]] = field(default_factory=dict)

    def journal(self, name: str) -> list[dict[str, Any]]:
        """The lines of `<name>.jsonl`; a torn last line is left out."""
        path = self.folder / f"{name}.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().split("\n")[:-1] if line]

    def topic(self, name: str) -> list[LogRecord]:
        """All records of a topic, by partition and offset."""
        if name not in self._records:
            path = self.folder / "topics" / f"{name}.jsonl"
            lines = path.read_text().splitlines() if path.exists() else []
            found = [_record(name, json.loads(line)) for line in lines]
            self._records[name] = sorted(found, key=lambda r: (r.partition, r.offset))
        return self._records[name]

    @cached_property
    def jobs(self) -> list[dict[str, Any]]:
        """What the load planned, did and saw."""
        return self.journal("jobs")

    @cached_property
    def planned(self) -> dict[int, dict[str, Any]]:
        """Planned jobs by number."""
        return {line["number"]: line for line in self.jobs if line.get("event") == "planned"}

    @cached_property
    def accepted(self) -> dict[str, dict[str, Any]]:
        """The plan of every job that the client was told is accepted, by job id."""
        return {
            line["job"]: self.planned[line["number"]]
            for line in self.jobs
            if line.get("event") == "known" and line["job"] is not None
        }

    def accepted_of(self, *kinds: str) -> dict[str, dict[str, Any]]:
        """Those of some kinds."""
        return {job: plan for job, plan in self.accepted.items() if plan["kind"] in kinds}

    @cached_property
    def api(self) -> dict[str, str]:
        """The last status that the API showed, by job."""
        return {line["job"]: line["status"] for line in self.jobs if line.get("event") == "api"}

    @cached_property
    def api_attempts(self) -> dict[str, int]:
        """The attempt that the API showed with the end of a job."""
        return {
            line["job"]: line["attempt"]
            for line in self.jobs
            if line.get("event") == "api" and line.get("attempt") is not None
        }

    @cached_property
    def events(self) -> dict[str, list[Event]]:
        """The events of each job in the order of the log."""
        found: dict[str, list[Event]] = defaultdict(list)
        for record in self.topic(_EVENTS):
            body = json.loads(record.value or b"{}")
            event = Event(
                body["job"],
                body["type"],
                body["attempt"],
                body["seq"],
                record.at,
                record.partition,
                record.offset,
                body,
            )
            found[event.job].append(event)
        return dict(found)

    @cached_property
    def requests(self) -> dict[str, list[LogRecord]]:
        """Request records with an intact envelope, by job."""
        found: dict[str, list[LogRecord]] = defaultdict(list)
        for path in sorted((self.folder / "topics").glob("ai.*.requests.v1*.jsonl")):
            for record in self.topic(path.name.removesuffix(".jsonl")):
                job = record.header("ce_subject")
                is_ours = record.header("rig_id") is not None  # malformed on purpose
                if job is not None and not is_ours and record.header("ce_type") == _REQUEST_TYPE:
                    found[job].append(record)
        return dict(found)

    @property
    def dead(self) -> list[LogRecord]:
        """Dead letters."""
        return self.topic(_DEAD)

    @cached_property
    def calls(self) -> dict[str, list[Call]]:
        """Charged calls of each job, in order of time."""
        by_number: dict[int, Call] = {}
        found: dict[str, list[Call]] = defaultdict(list)
        for line in self.journal("provider"):
            if line["event"] == "charged" and line.get("job"):
                attempt = int(line.get("attempt") or 0)
                call = Call(line["call"], line["job"], attempt, line["at"])
                by_number[call.number] = call
                found[call.job].append(call)
            elif line["event"] == "ended" and line["call"] in by_number:
                by_number[line["call"]].ended = line["at"]
                by_number[line["call"]].how = line["how"]
        return dict(found)

    @cached_property
    def last_fault(self) -> float | None:
        """When the last fault was undone, or a poison job killed its worker; None: never."""
        undone = [line["until"] for line in self.journal("faults")]
        crashed = [
            line["at"]
            for line in self.journal("processes")
            if line["event"] == "exit" and line["status"] == CRASH_STATUS
        ]
        return max([*undone, *crashed], default=None)


def _record(topic: str, line: dict[str, Any]) -> LogRecord:
    return LogRecord(
        topic,
        line["p"],
        line["o"],
        line["ts"],
        _bytes(line["key"]),
        tuple((name, _bytes(raw)) for name, raw in line["headers"]),
        _bytes(line["value"]),
    )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
