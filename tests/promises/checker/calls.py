"""P3 and P3b: how often the provider was paid for the same job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from tests.promises.checker.evidence import Call, Event, Evidence
from tests.promises.checker.fold import TERMINAL, fold
from tests.promises.checker.interruptions import (
    Interruption,
    by_label,
    interruptions,
    is_in_flight_at,
    worker_of,
)
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_at_most_once", "check_calls", "repeated_calls", "unexcused"]


def check_calls(evidence: Evidence) -> Verdict:
    """Every second call follows a failed attempt, or had its excuse in flight.

    Stricter than the sum that is promised: each repeated call is judged by itself. Calls of one
    attempt are never two: a client library that tries again by itself shows here.
    """
    offenders, excused = _judge(evidence)
    stops, workers = by_label(interruptions(evidence)), worker_of(evidence)
    in_flight = sum(1 for _ in _in_flight(evidence, stops, workers))
    if excused > in_flight:
        offenders.append(f"{excused} repeated calls, but only {in_flight} were in flight")
    total = sum(map(len, evidence.calls.values()))
    figure = (
        f"{len(offenders)} unexcused, {excused} repeated <= {in_flight} in flight at kills, "
        f"of {total} calls"
    )
    return judged("P3", "bounded duplicate paid calls", figure, offenders, of=total)


def unexcused(evidence: Evidence) -> list[str]:
    """Repeated calls that nothing excuses."""
    return _judge(evidence)[0]


def _judge(evidence: Evidence) -> tuple[list[str], int]:
    """Who offends, and how many repeated calls an interruption excuses."""
    stops, workers = by_label(interruptions(evidence)), worker_of(evidence)
    offenders, excused = list(_twice_in_one_attempt(evidence)), 0
    for before, again in repeated_calls(evidence):
        events = evidence.events.get(again.job, [])
        worker = workers.get((again.job, before.attempt), "")
        frozen = [
            one
            for one in stops.get(workers.get((again.job, again.attempt), ""), [])
            if one.kind == "SIGSTOP"
        ]
        if before.attempt == again.attempt or _follows_failure(before, again, events):
            continue
        if _failed_by_itself(before, again, evidence):
            continue
        if any(_was_open(one, before, again.at, events) for one in stops.get(worker, [])):
            excused += 1
        elif any(_was_open(one, again, again.at, events) for one in frozen):
            excused += 1  # frozen between `started` and the call, which it made when it woke
        else:
            offenders.append(
                f"{again.job}: attempt {again.attempt} repeats {before.attempt} of {worker}, "
                "which was not interrupted"
            )
    return offenders, excused


def _twice_in_one_attempt(evidence: Evidence) -> Iterator[str]:
    """Requests of the same attempt, charged or refused."""
    seen = Counter(
        (line["job"], line["attempt"])
        for line in evidence.journal("provider")
        if line["event"] != "ended" and line.get("job")
    )
    for (job, attempt), count in seen.items():
        if count > 1:
            yield f"{job}: attempt {attempt} was sent {count} times"


def check_at_most_once(evidence: Evidence) -> Verdict:
    """No second charged call, and what was interrupted says `unknown_outcome`."""
    jobs = evidence.accepted_of("at_most_once")
    offenders, unknown = [], 0
    for job in jobs:
        calls = len(evidence.calls.get(job, []))
        status = fold(evidence.events.get(job, [])).status
        unknown += status == "unknown_outcome"
        if calls > 1:
            offenders.append(f"{job}: called {calls} times")
        if status is None:
            offenders.append(f"{job}: silently lost")
    figure = f"{len(offenders)} second calls or losses of {len(jobs)}, {unknown} unknown outcomes"
    return judged("P3b", "at_most_once means once", figure, offenders, of=len(jobs))


def repeated_calls(evidence: Evidence) -> Iterator[tuple[Call, Call]]:
    """Neighbours among the charged calls of each job."""
    for calls in evidence.calls.values():
        yield from pairwise(sorted(calls, key=lambda call: call.at))


def _follows_failure(before: Call, again: Call, events: list[Event]) -> bool:
    """Whether the log says that the earlier attempt failed, or that another model is asked.

    A fallback or a repair says so with `reset` in the new attempt.
    """
    return any(
        (event.type == "retrying" and before.attempt <= event.attempt < again.attempt)
        or (
            event.type == "reset"
            and event.attempt == again.attempt
            and event.body.get("reason") in ("fallback", "repair")
        )
        for event in events
    )


def _failed_by_itself(before: Call, again: Call, evidence: Evidence) -> bool:
    """Whether the provider did not answer: the next call is the retry that the job is owed anyway.

    Its own log tells, so it counts as well where the broker was away and `retrying` got lost. Only
    the first call of a job fails so, by its script; and it was over when the next began.
    """
    first = min(evidence.calls[before.job], key=lambda call: call.at)
    if before is not first or before.ended is None or before.ended > again.at:
        return False
    script = evidence.accepted.get(before.job, {}).get("script", "")
    has_hung = before.how == "aborted" and "hang=" in script
    return has_hung or before.how in ("cut", "ended")


def _was_open(one: Interruption, call: Call, until: float, events: list[Event]) -> bool:
    """Whether an attempt was in flight when its process was interrupted.

    It is in flight from `started` to its acknowledged end, not only while the provider talks.
    """
    ended = _ended(call, events)
    if ended is not None and one.kind != "SIGSTOP" and ended < one.at:
        return False
    return is_in_flight_at(one, _begun(call, events), until)


def _begun(call: Call, events: list[Event]) -> float:
    """When the attempt of a call began, by the log if that has it."""
    starts = [e.at for e in events if e.type == "started" and e.attempt == call.attempt]
    return min([*starts, call.at])


def _ended(call: Call, events: list[Event]) -> float | None:
    """When the log took the attempt's terminal event."""
    ends = [e.at for e in events if e.type in TERMINAL and e.attempt == call.attempt]
    return min(ends) if ends else None


def _in_flight(
    evidence: Evidence,
    stops: dict[str, list[Interruption]],
    workers: dict[tuple[str, int], str],
) -> Iterator[tuple[str, int]]:
    """Attempts that were begun and not ended when their process was interrupted."""
    for job, calls in evidence.calls.items():
        events = evidence.events.get(job, [])
        for call in calls:
            told = [e.at for e in events if e.type == "retrying" and e.attempt == call.attempt]
            over = _ended(call, events)
            ended = min([*told, *([] if over is None else [over])], default=None)
            for one in stops.get(workers.get((job, call.attempt), ""), []):
                if is_in_flight_at(one, _begun(call, events), ended):
                    yield job, call.attempt
                    break
