"""P7: a rolling restart is invisible."""

from __future__ import annotations

from collections.abc import Iterator

from tests.promises.checker.calls import repeated_calls, unexcused
from tests.promises.checker.evidence import Evidence
from tests.promises.checker.fold import fold
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_rolling"]

_DRAIN_S = 30.0
"""The grace period that the services are configured for."""


def check_rolling(evidence: Evidence) -> Verdict:
    """Everybody who was asked to stop does so in time with status 0, and nobody notices."""
    stops = list(_stops(evidence))
    offenders = [
        f"{label}: ended with status {status} after {took:.0f} s"
        for label, status, took in stops
        if status != 0 or took > _DRAIN_S
    ]
    offenders += unexcused(evidence)
    errors = [line for line in evidence.journal("submits") if line["status"] >= 500]
    offenders += [f"{line['key']}: {line['status']} {line['code']}" for line in errors]
    offenders += [
        f"{job}: {status}"
        for job, plan in evidence.accepted.items()
        if plan["kind"] in ("plain", "slow", "turn", "embed", "at_most_once")
        and (status := fold(evidence.events.get(job, [])).status) != "completed"
    ]
    repeats = sum(1 for _ in repeated_calls(evidence))
    refused = sum(line["status"] == 0 for line in evidence.journal("submits"))
    slowest = max((took for _, _, took in stops), default=0.0)
    figure = (
        f"{len(stops)} stops, all in <= {slowest:.1f} s, {repeats} repeated calls, "
        f"{len(errors)} answers 5xx, {refused} broken connections, {len(evidence.accepted)} jobs"
    )
    return judged("P7", "rolling restart is invisible", figure, offenders, of=len(stops))


def _stops(evidence: Evidence) -> Iterator[tuple[str, int, float]]:
    """(label, exit status, seconds) of every process that got SIGTERM before the end."""
    asked: dict[tuple[str, int], float] = {}
    for line in evidence.journal("processes"):
        if line["event"] == "teardown":
            return
        who = (line["label"], line["pid"])
        if line["event"] == "signal" and line["signal"] == "SIGTERM":
            asked[who] = line["at"]
        elif line["event"] == "exit" and who in asked:
            yield line["label"], line["status"], line["at"] - asked[who]
