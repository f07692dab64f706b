"""All promises over one folder of evidence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.promises.checker.calls import check_at_most_once, check_calls
from tests.promises.checker.evidence import Evidence
from tests.promises.checker.fairness import check_fairness
from tests.promises.checker.keys import check_keys
from tests.promises.checker.losses import check_losses
from tests.promises.checker.order import check_order
from tests.promises.checker.poison import check_poison
from tests.promises.checker.results import check_redis_loss, check_results, check_zombies
from tests.promises.checker.retries import check_retries
from tests.promises.checker.streams import check_streams
from tests.promises.checker.verdict import Verdict

__all__ = ["CHECKS", "judge", "write_verdicts"]

CHECKS: Sequence[Callable[[Evidence], Verdict]] = (
    check_losses,
    check_results,
    check_calls,
    check_at_most_once,
    check_redis_loss,
    check_zombies,
    check_order,
    check_retries,
    check_poison,
    check_fairness,
    check_streams,
    check_keys,
)


def judge(folder: Path) -> list[Verdict]:
    """Every verdict that the evidence allows."""
    evidence = Evidence(folder)
    return [check(evidence) for check in CHECKS]


def write_verdicts(path: Path, verdicts: Sequence[Verdict]) -> None:
    """As JSON, for machines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=1) + "\n")
