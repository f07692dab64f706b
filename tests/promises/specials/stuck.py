"""A poll thread that stands still, a broker that swallows everything, a full disk. P22."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from penstock.dev.model_server import answers_ok

from tests.promises.checker.dump import dump_topics
from tests.promises.checker.evidence import Evidence
from tests.promises.checker.losses import check_losses
from tests.promises.checker.stuck import check_stuck
from tests.promises.checker.verdict import Verdict
from tests.promises.injector import Injector
from tests.promises.journal import Journal
from tests.promises.load.plan import Mix, draw_jobs
from tests.promises.load.running import running_load
from tests.promises.schedule import Step
from tests.promises.specials.observing import observed
from tests.promises.stack.layout import Layout, Ports
from tests.promises.stack.running import RunningStack, running_stack

__all__ = ["run_stuck"]

_REPLICAS = {"recorder": 1, "llm-worker": 3, "notifier": 1, "gateway": 1}
_BLACK_HOLE_S = 66.0
_DISK_FULL_S = 18.0
_RESUME_S = 60.0


def run_stuck(folder: Path) -> list[Verdict]:
    """Verdicts of P22, and of P1 in the same run."""
    evidence = Evidence(asyncio.run(_run(folder)))
    return [check_stuck(evidence), check_losses(evidence)]


async def _run(folder: Path) -> Path:
    layout = Layout(folder=folder, ports=Ports.pick_for(_REPLICAS), replicas=_REPLICAS)
    mix = Mix(**{**Mix.none().facts(), "seconds": 110.0, "plain": 220})
    async with (
        running_stack(layout) as stack,
        running_load(stack, seed=5) as load,
        observed(stack),
    ):
        sending = asyncio.create_task(load.run(draw_jobs(5, mix)), name="load")
        await asyncio.sleep(3)
        journal = Journal(layout.evidence / "stuck.jsonl")
        injector = Injector(stack)
        journal.write(what="frozen poll thread", label="llm-worker-2")
        stack.fleet.send_signal("llm-worker-2", signal.SIGUSR1)
        journal.write(what="broker swallows everything", label="llm-worker-3")
        await injector.one(Step(0.0, "drop", "victim", _BLACK_HOLE_S))
        journal.write(what="healed", label="llm-worker-3")
        for label in ("llm-worker-2", "llm-worker-3"):
            await stack.fleet.wait_ready(label, within_s=180)
        await _fill_disk(stack, journal)
        await sending
        await load.settle(within_s=90)
        await asyncio.to_thread(dump_topics, stack.kafka, layout.evidence)
    return layout.evidence


async def _fill_disk(stack: RunningStack, journal: Journal) -> None:
    """The broker cannot write, ends, and cannot start before there is room again."""
    fleet = stack.fleet
    stack.fill_disk()
    journal.write(what="the broker's disk is full", label="gateway-1")
    journal.write(what="the broker's disk is full", label="llm-worker-1")
    await asyncio.sleep(2)
    await fleet.hold("kafka", signal.SIGKILL)
    await asyncio.sleep(_DISK_FULL_S)
    fleet.release("kafka")
    await fleet.wait_ready("kafka", within_s=180)
    journal.write(what="healed", label="gateway-1")
    journal.write(what="healed", label="llm-worker-1")
    await _until_all_ready(stack)


async def _until_all_ready(stack: RunningStack) -> None:
    """Everybody says so again by himself; who does not shows in the observations."""
    until = time.monotonic() + _RESUME_S
    ports = stack.layout.ports.admin
    urls = [f"http://127.0.0.1:{ports[label]}/readyz" for _, label in stack.layout.services]
    while time.monotonic() < until:
        answers = await asyncio.gather(*(asyncio.to_thread(answers_ok, url) for url in urls))
        if all(answers):
            await asyncio.sleep(2)
            return
        await asyncio.sleep(0.5)
