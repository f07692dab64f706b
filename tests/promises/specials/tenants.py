"""A crowd of one tenant beside a few jobs of another. P12."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.promises.chaos import Chaos, run_chaos
from tests.promises.checker.evidence import Evidence
from tests.promises.checker.fairness import check_fairness
from tests.promises.checker.verdict import Verdict
from tests.promises.sabotage.scenarios import SCENARIOS, SMALL

__all__ = ["run_tenants"]


def run_tenants(folder: Path) -> list[Verdict]:
    """The verdict of P12."""
    scenario = SCENARIOS["two-tenants"]
    assert scenario.jobs is not None
    chaos = Chaos(
        folder=folder,
        seed=1,
        mix=scenario.mix,
        steps=(),
        settle_s=scenario.settle_s,
        replicas=SMALL,
        env=scenario.env,
        jobs=scenario.jobs(),
    )
    return [check_fairness(Evidence(asyncio.run(run_chaos(chaos))))]
