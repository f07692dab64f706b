"""P21: an Idempotency-Key is one job, however often and wherever it is sent."""

from __future__ import annotations

from collections import defaultdict

from tests.promises.checker.evidence import Evidence
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_keys"]

_MISMATCH = 422


def check_keys(evidence: Evidence) -> Verdict:
    """All answers of a key name one job; another body under the key is refused.

    While Redis is away nobody remembers the key's first body: another one may be another job then,
    but never the first one's.
    """
    jobs: dict[str, set[str]] = defaultdict(set)
    others: dict[str, set[str]] = defaultdict(set)
    sends: dict[str, int] = defaultdict(int)
    offenders: list[str] = []
    mismatches = refused = 0
    for line in evidence.journal("submits"):
        sends[line["key"]] += 1
        if line["status"] == 202:
            named = others if line["changed"] else jobs
            named[line["key"]].add(line["job"])
        if line["changed"]:
            mismatches += 1
            refused += line["status"] == _MISMATCH
    offenders += [f"{key}: {len(found)} jobs" for key, found in jobs.items() if len(found) > 1]
    offenders += [f"{key}: one job for two bodies" for key in jobs if jobs[key] & others[key]]
    repeated = sum(count > 1 for count in sends.values())
    figure = (
        f"{len(offenders)} keys with two jobs of {len(jobs)}, {repeated} sent more than once "
        f"(up to {max(sends.values(), default=0)} times), {refused} of {mismatches} changed "
        "bodies refused"
    )
    return judged("P21", "idempotent submit", figure, offenders, of=repeated)
