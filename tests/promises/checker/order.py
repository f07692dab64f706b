"""P9: turns of one conversation run in the order in which the log took them."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from tests.promises.checker.evidence import Evidence
from tests.promises.checker.fold import fold
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_order"]


def check_order(evidence: Evidence) -> Verdict:
    """A turn starts only after the turn before has its visible end.

    Turns are sent one by one, each after the acknowledgement of the one before, through the
    gateway and both Kafka clients; so the order of sending is the order that is promised.
    """
    talks: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for job, plan in evidence.accepted_of("turn").items():
        talks[plan["conversation"]].append((plan["turn"], job))
    offenders, pairs = [], 0
    for talk, turns in talks.items():
        for (_, earlier), (number, later) in pairwise(sorted(turns)):
            end = fold(evidence.events.get(earlier, [])).end
            starts = [e.at for e in evidence.events.get(later, []) if e.type == "started"]
            if end is None or not starts:
                continue
            pairs += 1
            if min(starts) < end.at:
                offenders.append(f"{talk}: turn {number} started before turn {number - 1} ended")
    figure = f"{len(offenders)} inversions in {pairs} pairs of {len(talks)} keys"
    return judged("P9", "order per key", figure, offenders, of=pairs)
