"""Every process is stopped in order and started again, one after the other, under load. P7."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.promises.checker.dump import dump_topics
from tests.promises.checker.evidence import Evidence
from tests.promises.checker.losses import check_losses
from tests.promises.checker.rolling import check_rolling
from tests.promises.checker.streams import check_streams
from tests.promises.checker.verdict import Verdict
from tests.promises.injector import Injector
from tests.promises.load.plan import Mix, draw_jobs
from tests.promises.load.running import running_load
from tests.promises.schedule import Step
from tests.promises.stack.layout import REPLICAS, Layout, Ports
from tests.promises.stack.running import RunningStack, running_stack

__all__ = ["run_rolling"]


def run_rolling(folder: Path, *, rounds: int = 1, jobs: int = 500) -> list[Verdict]:
    """Verdicts of P7, and of P1 and P15 in the same run."""
    evidence = Evidence(asyncio.run(_run(folder, rounds=rounds, jobs=jobs)))
    return [check_rolling(evidence), check_losses(evidence), check_streams(evidence)]


async def _run(folder: Path, *, rounds: int, jobs: int) -> Path:
    layout = Layout(folder=folder, ports=Ports.pick_for(REPLICAS))
    mix = Mix(
        **{
            **Mix.none().facts(),
            "seconds": 45.0 * rounds,
            "plain": jobs,
            "slow": 20,
            "embed": 30,
            "at_most_once": 30,
            "conversations": 6,
            "turns": 10,
            "follow_share": 0.3,
        }
    )
    async with running_stack(layout) as stack, running_load(stack, seed=2) as load:
        sending = asyncio.create_task(load.run(draw_jobs(2, mix)), name="load")
        await asyncio.sleep(3)
        for _ in range(rounds):
            await _roll(stack)
        await sending
        await load.settle(within_s=60)
        await asyncio.to_thread(dump_topics, stack.kafka, layout.evidence)
    return layout.evidence


async def _roll(stack: RunningStack) -> None:
    """As a rolling deployment does: the next one only when the last is ready again."""
    injector = Injector(stack)
    for _, label in stack.layout.services:
        await injector.one(Step(0.0, "term", label, 0.0))
        await stack.fleet.wait_ready(label, within_s=180)
