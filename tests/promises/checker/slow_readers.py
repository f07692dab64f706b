"""P16: clients that do not read harm nobody but themselves."""

from __future__ import annotations

from tests.promises.checker.evidence import Evidence
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_slow_readers"]

_MIB = 1 << 20
_CLOSED_S = 45.0
_GRACE_S = 0.25
"""On a machine that also runs everything else: what twice means for milliseconds."""


def check_slow_readers(evidence: Evidence) -> Verdict:
    """Latency of the healthy ones, memory of the notifier, life of the slow ones."""
    lines = evidence.journal("readers")
    before = sorted(
        one["late_s"] for one in lines if one["event"] == "heard" and one["phase"] == "before"
    )
    beside = sorted(
        one["late_s"] for one in lines if one["event"] == "heard" and one["phase"] == "beside"
    )
    slow = next((one for one in lines if one["event"] == "slow"), None)
    if not before or not beside or slow is None:
        return judged("P16", "slow clients harm nobody", "nothing was heard", [], of=0)
    offenders = []
    if _p99(beside) > 2 * _p99(before) + _GRACE_S:
        offenders.append(f"healthy p99 went from {_p99(before):.3f} to {_p99(beside):.3f} s")
    grown = _grown_mib(evidence, since=slow["at"])
    if grown > slow["count"] + 50:
        offenders.append(f"the notifier has grown by {grown:.0f} MiB for {slow['count']} clients")
    closed = next((one["at"] - slow["at"] for one in lines if one["event"] == "closed"), None)
    if closed is None or closed > _CLOSED_S:
        offenders.append(f"the slow clients were closed after {closed} s")
    figure = (
        f"healthy p99 {_p99(before) * 1000:.0f} -> {_p99(beside) * 1000:.0f} ms beside "
        f"{slow['count']} that read nothing, +{grown:.0f} MiB, closed after {closed or -1:.0f} s"
    )
    return judged("P16", "slow clients harm nobody", figure, offenders, of=len(beside))


def _grown_mib(evidence: Evidence, *, since: float) -> float:
    rss = [
        (line["at"], line["rss"])
        for line in evidence.journal("memory")
        if line["label"].startswith("notifier")
    ]
    before = [value for at, value in rss if at < since]
    after = [value for at, value in rss if at >= since]
    return (max(after) - max(before)) / _MIB if before and after else 0.0


def _p99(values: list[float]) -> float:
    return values[min(len(values) - 1, int(len(values) * 0.99))]
