"""P13: overload is refused politely, and what is accepted is kept."""

from __future__ import annotations

from tests.promises.checker.evidence import Evidence
from tests.promises.checker.fold import fold
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_overload"]

_KEPT = 0.99
_GROWTH_MIB = 150
_RECOVERY_S = 10.0
_POLITE = (429, 503)


def check_overload(evidence: Evidence) -> Verdict:
    """Deadlines met, refusals with advice, memory bounded, back within ten seconds."""
    flood = evidence.accepted_of("flood")
    sends = [line for line in evidence.journal("submits") if line["key"].startswith("flood")]
    met = sum(fold(evidence.events.get(job, [])).status == "completed" for job in flood)
    refused = [line for line in sends if line["status"] != 202]
    impolite = [
        one for one in refused if one["status"] not in _POLITE or one["retry_after"] is None
    ]
    offenders = [f"{line['key']}: {line['status']} {line['code']}" for line in impolite]
    if met < _KEPT * len(flood):
        offenders.append(f"only {met} of {len(flood)} accepted jobs met their deadline")
    if sends and not refused:
        offenders.append("nothing was refused: there was no overload")
    grown = _grown_mib(evidence)
    if grown > _GROWTH_MIB:
        offenders.append(f"the gateway has grown by {grown:.0f} MiB")
    recovered_s = _recovered_s(evidence)
    if recovered_s is None or recovered_s > _RECOVERY_S:
        offenders.append(f"recovered after {recovered_s} s")
    figure = (
        f"{met} of {len(flood)} accepted met their deadline, {len(refused)} of {len(sends)} "
        f"refused ({len(impolite)} impolitely), +{grown:.0f} MiB, back in {recovered_s or -1:.1f} s"
    )
    return judged("P13", "overload stays polite", figure, offenders, of=len(sends))


def _grown_mib(evidence: Evidence) -> float:
    rss = [one["rss"] for one in evidence.journal("memory") if one["label"].startswith("gateway")]
    return (max(rss) - rss[0]) / (1 << 20) if rss else 0.0


def _recovered_s(evidence: Evidence) -> float | None:
    """From the last of the flood to the first accepted job after it."""
    lines = evidence.journal("submits")
    last = max((one["began"] for one in lines if one["key"].startswith("flood")), default=0.0)
    after = [one["at"] for one in lines if one["key"].startswith("after") and one["status"] == 202]
    return min(after) - last if after else None
