"""P10: retries are never early, and late only by so much."""

from __future__ import annotations

from tests.promises.checker.evidence import Evidence
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_retries", "lateness"]

_SLACK_S = 0.1
"""The `retrying` event and the record that waits are two writes."""


def check_retries(evidence: Evidence, *, is_quiet: bool = False) -> Verdict:
    """By the broker's clock and by the provider's; one worker's own clock may be an hour off.

    `is_quiet`: there were no faults, so lateness is judged as well.
    """
    early, pauses = [], lateness(evidence)
    early += [f"{job}: {-late:.2f} s early" for job, _, late in pauses if late < -_SLACK_S]
    early += _before_retry_after(evidence)
    allowed = [late - (1.0 + 0.1 * delay) for _, delay, late in pauses]
    p99 = sorted(late for _, _, late in pauses)[int(len(pauses) * 0.99) - 1] if pauses else 0.0
    if is_quiet and sum(late > 0 for late in allowed) > len(allowed) // 100:
        early.append(f"more than 1 % are later than 1 s + 10 %: p99 is {p99:.2f} s")
    figure = f"{len(early)} early of {len(pauses)}, p99 {p99:.2f} s late"
    return judged("P10", "retries on time, never early", figure, early, of=len(pauses))


def lateness(evidence: Evidence) -> list[tuple[str, float, float]]:
    """(job, promised pause, seconds after its end at which the next attempt started).

    What a frozen worker says of an attempt that another has replaced meanwhile promises nothing.
    """
    found = []
    for job, events in evidence.events.items():
        newest = 0
        for place, event in enumerate(events):
            if event.type == "started":
                newest = max(newest, event.attempt)
            if event.type != "retrying" or event.attempt < newest:
                continue
            delay = float(event.body["delay_s"])
            starts = [e.at for e in events[place:] if e.type == "started"]
            if starts:
                found.append((job, delay, min(starts) - event.at - delay))
    return found


def _before_retry_after(evidence: Evidence) -> list[str]:
    """The provider said when to come again; its own log tells who came sooner."""
    asked = {
        job: float(plan["retry_after_s"])
        for job, plan in evidence.accepted_of("rate_limited").items()
    }
    refused: dict[str, float] = {}
    early = []
    for line in evidence.journal("provider"):
        job = line.get("job")
        if job not in asked or line["event"] == "ended":
            continue
        if line["event"] == "refused":
            refused[job] = line["at"]
        elif job in refused and line["at"] < refused[job] + asked[job] - _SLACK_S:
            early.append(f"{job}: called {line['at'] - refused[job]:.2f} s after Retry-After")
    return early
