"""When a process was killed, died or was frozen: the only excuses for a second call."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from tests.promises.checker.evidence import CRASH_STATUS, Evidence

__all__ = ["Interruption", "interruptions", "is_in_flight_at", "worker_of"]

_SLACK_S = 0.25
"""Between a clock reading of the rig and one of the provider or the broker."""


@dataclass(frozen=True, slots=True)
class Interruption:
    """`kind`: SIGKILL, SIGSTOP or crash."""

    label: str
    at: float
    kind: str


def interruptions(evidence: Evidence) -> list[Interruption]:
    """All of them, in order of time. An ordered stop (SIGTERM, exit 0) is none."""
    found: dict[tuple[str, int], Interruption] = {}
    stopped: list[Interruption] = []
    for line in evidence.journal("processes"):
        if line["event"] == "teardown":
            break
        who = (line["label"], line["pid"])
        if line["event"] == "signal" and line["signal"] == "SIGKILL":
            found[who] = Interruption(line["label"], line["at"], "SIGKILL")
        elif line["event"] == "signal" and line["signal"] == "SIGSTOP":
            stopped.append(Interruption(line["label"], line["at"], "SIGSTOP"))
        elif line["event"] == "exit" and line["status"] == CRASH_STATUS:
            found[who] = Interruption(line["label"], line["at"], "crash")
    return sorted([*found.values(), *stopped], key=lambda one: one.at)


def worker_of(evidence: Evidence) -> dict[tuple[str, int], str]:
    """Who ran an attempt, by (job, attempt), as its `started` event says."""
    return {
        (event.job, event.attempt): str(event.body.get("worker"))
        for events in evidence.events.values()
        for event in events
        if event.type == "started"
    }


def is_in_flight_at(one: Interruption, begun: float, ended: float | None) -> bool:
    """Whether something that lasted from `begun` to `ended` was in flight then."""
    return begun - _SLACK_S <= one.at and (ended is None or one.at <= ended + _SLACK_S)


def by_label(found: list[Interruption]) -> dict[str, list[Interruption]]:
    """The same by process."""
    grouped: dict[str, list[Interruption]] = defaultdict(list)
    for one in found:
        grouped[one.label].append(one)
    return dict(grouped)
