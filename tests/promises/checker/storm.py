"""P8: a storm of rebalances costs time, not jobs."""

from __future__ import annotations

from tests.promises.checker.evidence import Evidence
from tests.promises.checker.fold import fold
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_storm"]

_RECOVERY_S = 15.0
_SHARE = 0.9


def check_storm(evidence: Evidence) -> Verdict:
    """Fifteen seconds after the storm jobs end at the pace at which they come, none is behind."""
    faults = evidence.journal("faults")
    over = max((line["until"] for line in faults), default=0.0)
    sent = {job: records[0].at for job, records in evidence.requests.items()}
    ends = {
        job: end.at for job in sent if (end := fold(evidence.events.get(job, [])).end) is not None
    }
    offenders = [f"{job}: has no end" for job in sent if job not in ends]
    late = [job for job, at in sent.items() if at < over and ends.get(job, 0) > over + _RECOVERY_S]
    offenders += [f"{job}: still not done {_RECOVERY_S:.0f} s after the storm" for job in late]
    since, until = over + _RECOVERY_S, max(sent.values(), default=0.0)
    came = sum(since <= at <= until for at in sent.values())
    done = sum(since <= at <= until for at in ends.values())
    if came and done < _SHARE * came:
        offenders.append(f"only {done} of {came} jobs ended in the time after the storm")
    kills = sum(line["action"] == "kill" for line in faults)
    figure = (
        f"{len(faults)} leaves and joins ({kills} by SIGKILL), {len(sent)} jobs, "
        f"{done} done of {came} that came after it"
    )
    return judged("P8", "rebalance storm", figure, offenders, of=len(faults))
