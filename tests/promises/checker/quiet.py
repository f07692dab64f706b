"""P5 and P20: what must hold while nothing is broken."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tests.promises.checker.evidence import Evidence
from tests.promises.checker.fold import fold
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_long_jobs", "check_memory", "slope"]

_MIB = 1 << 20
_SOAK_S = 360.0
"""From this length on, warm-up left out, the promised slope is judged; below, only runaway
growth."""
_SLOPE_SOAK = 1.0 / 600
_SLOPE_SHORT = 24.0 / 60
"""MiB per second. A process of a minute still fills its caches and rings."""
_WARM_UP = 1 / 3
_FD_GROWTH = 64


def check_long_jobs(evidence: Evidence) -> Verdict:
    """Jobs longer than session, `max.poll` and lease: called once, completed."""
    jobs = evidence.accepted_of("long")
    offenders = []
    for job in jobs:
        calls, end = evidence.calls.get(job, []), fold(evidence.events.get(job, [])).end
        if len(calls) != 1:
            offenders.append(f"{job}: called {len(calls)} times")
        if end is None or end.type != "completed":
            offenders.append(f"{job}: ended as {end.type if end else None}")
    longest = max(
        (c.ended - c.at for job in jobs for c in evidence.calls.get(job, []) if c.ended),
        default=0.0,
    )
    figure = (
        f"{len(offenders)} of {len(jobs)} called again or not completed, longest {longest:.0f} s"
    )
    return judged("P5", "jobs longer than every time-out", figure, offenders, of=len(jobs))


def check_memory(evidence: Evidence) -> Verdict:
    """RSS and file descriptors of each process after a third of the time."""
    series: dict[tuple[str, int], list[tuple[float, int, int]]] = defaultdict(list)
    for line in evidence.journal("memory"):
        series[(line["label"], line["pid"])].append((line["at"], line["rss"], line["fds"]))
    offenders, steepest, spans = [], 0.0, [0.0]
    for (label, _), points in series.items():
        warm = points[int(len(points) * _WARM_UP) :]
        if len(warm) < 5:
            continue
        span_s = warm[-1][0] - warm[0][0]
        spans.append(span_s)
        grows = slope([(at, rss / _MIB) for at, rss, _ in warm])
        steepest = max(steepest, grows)
        if grows > (_SLOPE_SOAK if span_s >= _SOAK_S else _SLOPE_SHORT):
            offenders.append(f"{label}: grows by {grows * 600:.1f} MiB in 10 min")
        if warm[-1][2] > warm[0][2] + _FD_GROWTH:
            offenders.append(f"{label}: {warm[0][2]} file descriptors became {warm[-1][2]}")
    figure = (
        f"steepest {steepest * 60:.1f} MiB/min over {max(spans):.0f} s in {len(series)} processes"
    )
    return judged("P20", "no slow leak", figure, offenders, of=len(spans) - 1)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares, units of y per second."""
    n = len(points)
    x_mean, y_mean = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / spread if spread else 0.0
