"""Five times as many jobs as can be done, each with a deadline. P13."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.promises.checker.dump import dump_topics
from tests.promises.checker.evidence import Evidence
from tests.promises.checker.overload import check_overload
from tests.promises.checker.verdict import Verdict
from tests.promises.load.plan import PlannedJob
from tests.promises.load.running import Load, running_load
from tests.promises.specials.observing import observed
from tests.promises.stack.layout import Layout, Ports
from tests.promises.stack.running import running_stack

__all__ = ["run_overload"]

_REPLICAS = {"recorder": 1, "llm-worker": 1, "notifier": 1, "gateway": 1}
_PLACES = 8
_CALL = "tokens=20;rate=20"
"""A second per call: eight at once are about eight jobs per second."""
_PER_S = 40.0
_DEADLINE_S = 8.0
_RECOVERY_S = 20.0


def run_overload(folder: Path, *, seconds: float = 20.0) -> list[Verdict]:
    """The verdict of P13."""
    return [check_overload(Evidence(asyncio.run(_run(folder, seconds=seconds))))]


async def _run(folder: Path, *, seconds: float) -> Path:
    layout = Layout(
        folder=folder,
        ports=Ports.pick_for(_REPLICAS),
        replicas=_REPLICAS,
        env={"llm-worker": {"PENSTOCK_LLM_WORKER__MAX_IN_FLIGHT": str(_PLACES)}},
    )
    async with (
        running_stack(layout) as stack,
        running_load(stack, seed=4) as load,
        observed(stack),
    ):
        await asyncio.sleep(4)  # what it weighs before
        await _flood(load, seconds)
        await _until_taken(load)
        await load.settle(within_s=30)
        await asyncio.to_thread(dump_topics, stack.kafka, layout.evidence)
    return layout.evidence


async def _flood(load: Load, seconds: float) -> None:
    """An open loop: requests go out on time, once each, whatever became of the earlier ones."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for n in range(int(seconds * _PER_S)):
            await asyncio.sleep(max(0.0, began + n / _PER_S - time.monotonic()))
            group.create_task(load.submit_once(_job(n, "flood")))


async def _until_taken(load: Load) -> None:
    """A caller that comes back when it is told to; until then the stack has not recovered."""
    until = time.monotonic() + _RECOVERY_S
    number = 100_000
    while time.monotonic() < until:
        number += 1
        if await load.submit_once(_job(number, "after")) is not None:
            return
        await asyncio.sleep(1.0)


def _job(number: int, kind: str) -> PlannedJob:
    return PlannedJob(
        number=number + 1,
        kind=kind,
        key=f"{kind}-{number}",
        at_s=0.0,
        script=_CALL,
        deadline_s=_DEADLINE_S,
    )
