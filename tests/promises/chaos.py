"""One seed: load and faults side by side, then quiet, then everything is read back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.promises.checker.dump import dump_topics
from tests.promises.injector import Injector
from tests.promises.journal import Journal
from tests.promises.load.malformed import send_malformed
from tests.promises.load.plan import Mix, PlannedJob, draw_jobs
from tests.promises.load.running import running_load
from tests.promises.schedule import Step, write_schedule
from tests.promises.stack.layout import REPLICAS, Layout, Ports
from tests.promises.stack.running import running_stack

__all__ = ["Chaos", "run_chaos"]

_SETTLE_S = 180.0
"""The promise is 120 s after the last fault; poison jobs kill workers for a while after ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """A run: which jobs, which faults, what is wrong from the start."""

    folder: Path
    seed: int
    mix: Mix
    steps: Sequence[Step]
    skew_s: float = 0.0
    sabotage: Sequence[str] = ()
    partitioner: str = "murmur2_random"
    settle_s: float = _SETTLE_S
    replicas: Mapping[str, int] = field(default_factory=lambda: dict(REPLICAS))
    env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    idle_s: float = 2.0
    script: str = ""
    jobs: Sequence[PlannedJob] | None = None
    """Instead of those that the mix draws."""


async def run_chaos(chaos: Chaos) -> Path:
    """Run it; the folder with the evidence."""
    layout = Layout(
        folder=chaos.folder,
        ports=Ports.pick_for(chaos.replicas),
        replicas=chaos.replicas,
        env=chaos.env,
        idle_s=chaos.idle_s,
        script=chaos.script,
        skew_s={"llm-worker-2": chaos.skew_s} if chaos.skew_s else {},
        sabotage=chaos.sabotage,
    )
    write_schedule(chaos.folder / "schedule.json", chaos.seed, chaos.steps)
    jobs = draw_jobs(chaos.seed, chaos.mix) if chaos.jobs is None else chaos.jobs
    async with (
        running_stack(layout) as stack,
        running_load(stack, seed=chaos.seed, partitioner=chaos.partitioner) as load,
    ):
        malformed = Journal(layout.evidence / "malformed.jsonl")
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(jobs), name="load")
            group.create_task(Injector(stack).run(chaos.steps), name="faults")
            group.create_task(
                send_malformed(
                    load.producers,
                    malformed,
                    seed=chaos.seed,
                    count=chaos.mix.malformed,
                    seconds=chaos.mix.seconds,
                ),
                name="malformed",
            )
        await load.settle(within_s=chaos.settle_s)
        await asyncio.to_thread(dump_topics, stack.kafka, layout.evidence)
    return layout.evidence
