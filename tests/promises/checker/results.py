"""P2, P4, P6: one visible result per job, whoever looks, whatever Redis or zombies did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from tests.promises.checker.evidence import Evidence
from tests.promises.checker.fold import TERMINAL, Folded, fold, output_text
from tests.promises.checker.interruptions import interruptions, worker_of
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_redis_loss", "check_results", "check_zombies"]

_REBUILD_S = 30.0
"""Promised for 100,000 jobs; here they are some hundred, with other faults at the same time. It
counts from the last fault that took away what a rebuild works with: then it has to begin anew."""
_OF_A_REBUILD = ("redis", "kafka", "broker", "recorder")
_HARMLESS = ("delay", "reset")
"""What a rebuild outlives, or should."""


def check_results(evidence: Evidence) -> Verdict:
    """The log by the fence rule, the API and every stream tell of the same end."""
    offenders = [*_two_partitions(evidence), *_views_that_differ(evidence)]
    streams = sum(line["over"] for line in evidence.journal("streams"))
    figure = (
        f"{len(offenders)} differ: {len(evidence.api)} read by API, {streams} by streams, "
        f"{_superseded(evidence)} superseded ends in the log"
    )
    return judged("P2", "one visible result per job", figure, offenders, of=len(evidence.api))


def check_redis_loss(evidence: Evidence) -> Verdict:
    """After Redis came up empty the API still shows every job as the log has it."""
    losses = [line for line in evidence.journal("faults") if line["action"] in ("wipe", "flush")]
    offenders = list(_api_that_differs(evidence)) if losses else []
    differ = len(offenders)
    rebuilt = list(_rebuilt(evidence))
    offenders += [
        "Redis came back empty and the job table " + _late(took)
        for took in rebuilt
        if took is None or took > _REBUILD_S
    ]
    undivided = [line["took_s"] for line in evidence.journal("rebuilds")]
    figure = (
        f"{differ} of {len(evidence.api)} jobs differ after {len(losses)} losses, "
        f"rebuilt in <= {_longest(rebuilt):.1f} s ({_longest(undivided):.1f} s with faults amid)"
    )
    return judged("P4", "Redis is disposable", figure, offenders, of=len(losses))


def _rebuilt(evidence: Evidence) -> Iterator[float | None]:
    """Seconds that each rebuild had to itself; None where there was no end of it."""
    cuts = [
        line["until"]
        for line in evidence.journal("faults")
        if line["target"].startswith(_OF_A_REBUILD) and line["action"] not in _HARMLESS
    ]
    for line in evidence.journal("rebuilds"):
        if line["took_s"] is None:
            yield None
            continue
        began = line["at"] - line["took_s"]
        yield line["at"] - max([began, *(cut for cut in cuts if began < cut <= line["at"])])


def _longest(spans: Iterable[float | None]) -> float:
    return max((took for took in spans if took is not None), default=0.0)


def _late(took: float | None) -> str:
    return "was never complete again" if took is None else f"was complete after {took:.0f} s"


def check_zombies(evidence: Evidence) -> Verdict:
    """A worker that was frozen beyond its session wakes up with results: none may show."""
    frozen = [one for one in interruptions(evidence) if one.kind == "SIGSTOP"]
    frozen = [one for one in frozen if one.label.startswith("llm-worker")]
    workers, stale, offenders = worker_of(evidence), 0, []
    for job, events in evidence.events.items():
        folded = fold(events)
        zombies = [
            event
            for event in folded.superseded
            if any(
                workers.get((job, event.attempt)) == one.label and event.at > one.at
                for one in frozen
            )
        ]
        stale += len(zombies)
    offenders += list(_views_that_differ(evidence)) if frozen else []
    figure = f"{len(frozen)} frozen workers, {stale} late results, {len(offenders)} visible"
    return judged("P6", "zombies cannot win", figure, offenders, of=len(frozen))


def _superseded(evidence: Evidence) -> int:
    return sum(len(fold(events).superseded) for events in evidence.events.values())


def _two_partitions(evidence: Evidence) -> Iterator[str]:
    for job, events in evidence.events.items():
        if len({event.partition for event in events}) > 1:
            yield f"{job}: its events lie in several partitions"


def _views_that_differ(evidence: Evidence) -> Iterator[str]:
    yield from _api_that_differs(evidence)
    yield from _streams_that_differ(evidence)


def _api_that_differs(evidence: Evidence) -> Iterator[str]:
    for job, status in evidence.api.items():
        folded = fold(evidence.events.get(job, []))
        if folded.status != status and (folded.end is not None or status in TERMINAL):
            yield f"{job}: the log says {folded.status}, the API {status}"
        elif folded.end is not None and job in evidence.api_attempts:
            attempt = evidence.api_attempts[job]
            if attempt != folded.end.attempt:
                yield f"{job}: ended by attempt {folded.end.attempt}, the API shows {attempt}"


def _streams_that_differ(evidence: Evidence) -> Iterator[str]:
    """What a client sees as the end (the first that it is shown) against the log's end."""
    heard: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for line in evidence.journal("streams"):
        for frame in line["frames"]:
            status = frame.get("status") if frame["type"] == "snapshot" else frame["type"]
            if status in TERMINAL:
                heard[line["job"]].append((status, frame))
    for job, ends in heard.items():
        folded = fold(evidence.events.get(job, []))
        for status, frame in ends:
            if not _same_end(folded, status, frame):
                yield f"{job}: the log says {folded.status}, a stream showed another {status}"


def _same_end(folded: Folded, status: str, frame: dict[str, Any]) -> bool:
    if folded.end is None or folded.end.type != status:
        return False
    if frame["type"] != "snapshot" and frame["place"][0] != folded.end.attempt:
        return False
    shown, logged = output_text(frame.get("output")), output_text(folded.end.body.get("output"))
    return shown is None or shown == logged
