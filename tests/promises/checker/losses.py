"""P1: no accepted job is lost."""

from __future__ import annotations

from tests.promises.checker.evidence import Evidence
from tests.promises.checker.fold import fold
from tests.promises.checker.interruptions import interruptions
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_losses"]

_LIMIT_S = 120.0


def check_losses(evidence: Evidence) -> Verdict:
    """Accepted by HTTP or acknowledged by the broker: in the log, ended, ended in time, seen so."""
    offenders: list[str] = []
    latest = 0.0
    since = evidence.last_fault or 0.0
    # What nobody was told about but the log has is a promise, too: its client asks again.
    everybody = {**dict.fromkeys(evidence.requests, None), **evidence.accepted}
    for job in everybody:
        plan = evidence.accepted.get(job)
        name = f"{job} ({plan['key']})" if plan else job
        end = fold(evidence.events.get(job, [])).end
        if job not in evidence.requests:
            offenders.append(f"{name}: accepted, but not in any request topic")
        elif end is None:
            offenders.append(f"{name}: has no end")
        else:
            latest = max(latest, end.at - since)
            if since and end.at - since > _LIMIT_S:
                offenders.append(f"{name}: ended {end.at - since:.0f} s after the last fault")
    kills = sum(one.kind == "SIGKILL" for one in interruptions(evidence))
    late = f", last end {max(latest, 0):.0f} s after the last fault" if since else ""
    figure = f"{len(offenders)} lost of {len(evidence.accepted)} accepted, {kills} SIGKILLs{late}"
    return judged("P1", "no accepted job is lost", figure, offenders, of=len(evidence.accepted))
