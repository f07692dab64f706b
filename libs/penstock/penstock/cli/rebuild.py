"""`penstock rebuild`: the job table anew from the log."""

from __future__ import annotations

import asyncio

from penstock_kit.clock import SystemClock
from penstock_kit.jobs.rebuild import Progress as Step

from penstock.cli.console import Out, failing_well
from penstock.cli.progress import step_progress
from penstock.cli.target import DataOption, JsonOption, KafkaOption, Target
from penstock.operating.rebuild import RebuildTarget, rebuild_table

__all__ = ["rebuild"]


def rebuild(
    *, kafka: KafkaOption = None, data: DataOption = None, json: JsonOption = False
) -> None:
    """Recreate everything in Redis from the topics, while the system serves."""
    with failing_well(json=json):
        target, out = Target(data=data, given_kafka=kafka), Out(json=json)
        whole = RebuildTarget(
            kafka=target.kafka,
            redis=target.redis,
            tasks=target.tasks,
            id_secret=target.id_secret,
            verify_producers=target.verify_producers,
        )
        with step_progress("reading the log") as say:

            def on_step(step: Step) -> None:
                say(f"{step.stage}: {step.records} records, {step.partitions_left} partitions left")

            report = asyncio.run(rebuild_table(whole, clock=SystemClock(), progress=on_step))
        out.document(
            {
                "records": report.records,
                "jobs": report.jobs,
                "republished": report.republished,
                "seconds": round(report.seconds, 3),
            }
        )
        out.say(f"{report.jobs} jobs from {report.records} records in {report.seconds:.1f} s")
