"""P12: a crowd of one tenant does not keep another tenant's few jobs waiting."""

from __future__ import annotations

from collections.abc import Iterable

from tests.promises.checker.evidence import Evidence
from tests.promises.checker.fold import fold
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_fairness", "jain"]

_GRACE_S = 0.4
"""Short calls on a machine that also runs the broker and the clients: what twice means then."""


def check_fairness(evidence: Evidence) -> Verdict:
    """`guest` jobs beside a `crowd`, against `alone` jobs of the same kind before it."""
    alone = sorted(_waits(evidence, "alone"))
    beside = sorted(_waits(evidence, "guest"))
    if not alone or not beside:
        return judged("P12", "tenants are treated fairly", "no two tenants", [], of=0)
    limit = 2 * _p95(alone) + _GRACE_S
    offenders = []
    if _p95(beside) > limit:
        offenders.append(f"p95 is {_p95(beside):.2f} s beside a crowd, {_p95(alone):.2f} s alone")
    equals = _equals(evidence)
    index = jain(equals)
    if equals and index < 0.9:
        offenders.append(f"equals got {equals} jobs in the same time")
    crowd = len(evidence.accepted_of("crowd"))
    figure = (
        f"p95 {_p95(beside):.2f} s beside {crowd} jobs of another, {_p95(alone):.2f} s alone; "
        f"Jain {index:.2f} over {len(equals)} equals"
    )
    return judged("P12", "tenants are treated fairly", figure, offenders, of=len(beside))


def jain(shares: list[int]) -> float:
    """1 if all have the same, 1/n if one has all.

    Source: Jain, Chiu, Hawe, "A Quantitative Measure of Fairness", DEC-TR-301, 1984.
    """
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def _waits(evidence: Evidence, kind: str) -> Iterable[float]:
    """From the request in the log to the end, by the broker's clock."""
    for job in evidence.accepted_of(kind):
        end = fold(evidence.events.get(job, [])).end
        if end is not None:
            yield end.at - evidence.requests[job][0].at


def _equals(evidence: Evidence) -> list[int]:
    """Jobs of kind `equal` that each tenant has had done when half of all are done."""
    plans = evidence.accepted_of("equal")
    ends = sorted(
        (end.at, plan["tenant"])
        for job, plan in plans.items()
        if (end := fold(evidence.events.get(job, [])).end) is not None
    )
    half = [tenant for _, tenant in ends[: len(ends) // 2]]
    return [half.count(tenant) for tenant in sorted({plan["tenant"] for plan in plans.values()})]


def _p95(values: list[float]) -> float:
    return values[min(len(values) - 1, int(len(values) * 0.95))]
