"""Nothing is broken but a clock: long jobs, punctual retries, steady memory. P5, P10, P20."""

from __future__ import annotations

import asyncio
from dataclasses import replace
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
_CROWD = 22_000
"""More than what two workers remember of 10,000 attempts each, and a tail of 20,000 events."""
_CROWD_S = 190.0
"""Less than the third of a soak that is not judged."""


def run_quiet(folder: Path) -> list[Verdict]:
    """Verdicts of P5, P10 and P20, the last for runaway growth only."""
    return _judged(folder, _jobs(40.0, long_jobs=16))


def run_soak(folder: Path) -> list[Verdict]:
    """The same for ten minutes: the promised slope of P20, once every bounded cache is full."""
    return _judged(folder, [*_crowd(), *_jobs(600.0, long_jobs=16, first=_CROWD)])


def _judged(folder: Path, jobs: list[PlannedJob]) -> list[Verdict]:
    evidence = Evidence(asyncio.run(_run(folder, jobs)))
    return [
        check_long_jobs(evidence),
        check_retries(evidence, is_quiet=True),
        check_memory(evidence),
        check_losses(evidence),
    ]


async def _run(folder: Path, jobs: list[PlannedJob]) -> Path:
    layout = Layout(
        folder=folder,
        ports=Ports.pick_for(_REPLICAS),
        replicas=_REPLICAS,
        skew_s={"llm-worker-2": 3600.0},
        victim="llm-worker-2",
    )
    async with (
        running_stack(layout) as stack,
        running_load(stack, seed=1) as load,
        observed(stack),
    ):
        await load.run(jobs)
        await load.settle(within_s=60)
        await asyncio.to_thread(dump_topics, stack.kafka, layout.evidence)
    return layout.evidence


def _crowd() -> list[PlannedJob]:
    return [
        PlannedJob(
            number=n,
            kind="crowd",
            key=f"crowd-{n}",
            at_s=n * _CROWD_S / _CROWD,
            script="tokens=3;rate=500;ttft_ms=5",
        )
        for n in range(1, _CROWD + 1)
    ]


def _jobs(seconds: float, *, long_jobs: int, first: int = 0) -> list[PlannedJob]:
    """Numbered after `first`."""
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
    jobs = [replace(job, number=first + job.number) for job in draw_jobs(1, mix)]
    jobs += [
        PlannedJob(
            number=first + len(jobs) + n + 1,
            kind="long",
            key=f"long-{n}",
            at_s=random.uniform(0, seconds / 2),
            script=_LONG,
        )
        for n in range(long_jobs)
    ]
    return sorted(jobs, key=lambda job: job.at_s)
