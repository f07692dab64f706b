"""Nothing is broken but a clock: long jobs, punctual retries, steady memory. P5, P10, P20."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from tests.promises.checker.dump import dump_topics
from tests.promises.checker.evidence import Evidence
from tests.promises.checker.losses import check_losses
from tests.promises.checker.quiet import check_long_jobs, check_memory
from tests.promises.checker.retries import check_retries
from tests.promises.checker.verdict import Verdict
from tests.promises.load.plan import Mix, PlannedJob, draw_jobs
from tests.promises.load.running import running_load
from tests.promises.specials.observing import observed
from tests.promises.stack.layout import Layout, Ports
from tests.promises.stack.running import running_stack

__all__ = ["run_quiet", "run_soak"]

_REPLICAS = {"recorder": 1, "llm-worker": 2, "notifier": 1, "gateway": 1}
_LONG = "tokens=160;rate=8"
"""Twenty seconds: beyond the session (6 s), `max.poll` (10 s) and the lease (10 s)."""


def run_quiet(folder: Path, *, seconds: float = 40.0, long_jobs: int = 16) -> list[Verdict]:
    """Verdicts of P5, P10 and P20."""
    evidence = Evidence(asyncio.run(_run(folder, seconds=seconds, long_jobs=long_jobs)))
    return [
        check_long_jobs(evidence),
        check_retries(evidence, is_quiet=True),
        check_memory(evidence),
        check_losses(evidence),
    ]


def run_soak(folder: Path) -> list[Verdict]:
    """The same for ten minutes: the promised slope of P20."""
    return run_quiet(folder, seconds=600.0, long_jobs=16)


async def _run(folder: Path, *, seconds: float, long_jobs: int) -> Path:
    layout = Layout(
        folder=folder,
        ports=Ports.pick_for(_REPLICAS),
        replicas=_REPLICAS,
        skew_s={"llm-worker-2": 3600.0},
        victim="llm-worker-2",
    )
    jobs = _jobs(seconds, long_jobs)
    async with (
        running_stack(layout) as stack,
        running_load(stack, seed=1) as load,
        observed(stack),
    ):
        await load.run(jobs)
        await load.settle(within_s=60)
        await asyncio.to_thread(dump_topics, stack.kafka, layout.evidence)
    return layout.evidence


def _jobs(seconds: float, long_jobs: int) -> list[PlannedJob]:
    per_s = 12
    mix = Mix(
        **{
            **Mix.none().facts(),
            "seconds": seconds,
            "plain": int(per_s * seconds),
            "rate_limited": 40,
            "failing": 60,
            "follow_share": 0.3,
        }
    )
    random = Random("quiet")
    jobs = draw_jobs(1, mix)
    jobs += [
        PlannedJob(
            number=len(jobs) + n + 1,
            kind="long",
            key=f"long-{n}",
            at_s=random.uniform(0, seconds / 2),
            script=_LONG,
        )
        for n in range(long_jobs)
    ]
    return sorted(jobs, key=lambda job: job.at_s)
