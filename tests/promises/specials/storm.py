"""Workers come and go every few seconds, half of them killed. P8."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from tests.promises.checker.calls import check_calls
from tests.promises.checker.dump import dump_topics
from tests.promises.checker.evidence import Evidence
from tests.promises.checker.losses import check_losses
from tests.promises.checker.storm import check_storm
from tests.promises.checker.verdict import Verdict
from tests.promises.injector import Injector
from tests.promises.load.plan import PlannedJob
from tests.promises.load.running import running_load
from tests.promises.schedule import Step
from tests.promises.stack.layout import Layout, Ports
from tests.promises.stack.running import running_stack

__all__ = ["run_storm"]

_REPLICAS = {"recorder": 1, "llm-worker": 4, "notifier": 1, "gateway": 1}
_BEFORE_S = 8.0
_AFTER_S = 30.0


def run_storm(folder: Path, *, storm_s: float = 25.0, per_s: float = 20.0) -> list[Verdict]:
    """Verdicts of P8, and of P1 and P3 in the same run."""
    evidence = Evidence(asyncio.run(_run(folder, storm_s=storm_s, per_s=per_s)))
    return [check_storm(evidence), check_losses(evidence), check_calls(evidence)]


async def _run(folder: Path, *, storm_s: float, per_s: float) -> Path:
    layout = Layout(
        folder=folder, ports=Ports.pick_for(_REPLICAS), replicas=_REPLICAS, partitions=32
    )
    seconds = _BEFORE_S + storm_s + _AFTER_S
    jobs = [
        PlannedJob(
            number=n + 1,
            kind="cheap",
            key=f"cheap-{n}",
            at_s=n / per_s,
            script="tokens=5;rate=200;ttft_ms=5",
        )
        for n in range(int(seconds * per_s))
    ]
    async with running_stack(layout) as stack, running_load(stack, seed=3) as load:
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(jobs), name="load")
            group.create_task(Injector(stack).run(_steps(storm_s)), name="storm")
        await load.settle(within_s=60)
        await asyncio.to_thread(dump_topics, stack.kafka, layout.evidence)
    return layout.evidence


def _steps(storm_s: float) -> list[Step]:
    """Two of four workers leave and join, each for one to three seconds at a time."""
    random, steps = Random("storm"), list[Step]()
    for label in ("llm-worker-3", "llm-worker-4"):
        at_s = _BEFORE_S + random.uniform(0, 2)
        while at_s < _BEFORE_S + storm_s:
            action = ("kill", "term")[len(steps) % 2]
            steps.append(Step(round(at_s, 2), action, label, round(random.uniform(0.2, 1.0), 2)))
            at_s += random.uniform(4.0, 7.0)  # a start takes two or three of these
    return steps
