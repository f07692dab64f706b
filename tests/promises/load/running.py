"""The whole load of a seed in one asyncio process: submits, direct jobs, followers, cancels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import aiohttp

from tests.promises.journal import Journal
from tests.promises.load.direct import DirectProducers
from tests.promises.load.follower import Follower
from tests.promises.load.plan import PlannedJob
from tests.promises.load.sender import Sender
from tests.promises.stack.running import RunningStack

__all__ = ["Load", "running_load"]

_TERMINAL = frozenset({"completed", "failed", "cancelled", "expired", "unknown_outcome"})
_LOOK_S = 1.0


class Load:
    """Sends jobs and remembers who they became.

    Attributes:
        known: job id by number, of every job that was accepted.
    """

    def __init__(
        self, sender: Sender, producers: DirectProducers, follower: Follower, evidence: Journal
    ) -> None:
        self.sender = sender
        self.producers = producers
        self.known: dict[int, str] = {}
        self._follower = follower
        self._evidence = evidence
        self._tenants: dict[str, str] = {}
        self._attempts: dict[str, object] = {}
        self._over = asyncio.Event()
        self._following: list[asyncio.Task[None]] = []

    async def run(self, jobs: Sequence[PlannedJob]) -> None:
        """Send all jobs at their times; returns when each is accepted, refused or given up."""
        began = time.monotonic()
        talks: dict[str, list[PlannedJob]] = {}
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                if job.conversation is not None:
                    talks.setdefault(job.conversation, []).append(job)
                else:
                    group.create_task(self._one(job, began), name=job.key)
            for turns in talks.values():
                group.create_task(self._talk(turns, began), name=str(turns[0].conversation))

    async def settle(self, *, within_s: float) -> dict[str, str]:
        """Wait until the API shows an end for every job; the statuses as it shows them.

        Followers get until then, too. What has no end when none has come for `within_s` keeps its
        last status: a machine that has much else to do loses no job by that.
        """
        until = time.monotonic() + within_s
        seen: dict[str, str] = {}
        left = dict.fromkeys(self.known.values(), "")
        while left and time.monotonic() < until:
            before = len(left)
            left = await self._look(left, seen)
            if len(left) < before:
                until = time.monotonic() + within_s
            if left:
                await asyncio.sleep(_LOOK_S)
        settled = time.time()
        if self._following:
            await asyncio.wait(self._following, timeout=max(1.0, min(20.0, within_s)))
        self._over.set()
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        for job_id, status in {**seen, **left}.items():
            attempt = self._attempts.get(job_id)
            self._evidence.write(event="api", job=job_id, status=status, attempt=attempt)
        self._evidence.write(event="settled", at=settled, left=len(left))
        return {**seen, **left}

    async def submit_once(self, job: PlannedJob) -> str | None:
        """One request, whatever becomes of it; the job's id if it was accepted."""
        self._evidence.write(event="planned", **job.facts())
        status, job_id, _ = await self.sender.send(job)
        accepted = job_id if status == 202 else None
        self._evidence.write(event="known", number=job.number, key=job.key, job=accepted)
        if accepted is not None:
            self.known[job.number] = accepted
            self._tenants[accepted] = job.tenant
        return accepted

    async def _look(self, left: dict[str, str], seen: dict[str, str]) -> dict[str, str]:
        still: dict[str, str] = {}
        gate = asyncio.Semaphore(16)

        async def look(job_id: str) -> None:
            async with gate:
                status, view = await self.sender.read(job_id, self._tenant_of(job_id))
            text = str(view.get("status", status))
            if text in _TERMINAL:
                seen[job_id] = text
                self._attempts[job_id] = view.get("attempt")
            else:
                still[job_id] = text

        await asyncio.gather(*(look(job_id) for job_id in left))
        return still

    def _tenant_of(self, job_id: str) -> str:
        return self._tenants.get(job_id, "dev")

    async def _one(self, job: PlannedJob, began: float) -> None:
        await asyncio.sleep(max(0.0, began + job.at_s - time.monotonic()))
        await self.submit(job)

    async def _talk(self, turns: Sequence[PlannedJob], began: float) -> None:
        """A turn is sent when the log has the turn before: so their order is a fact."""
        await asyncio.sleep(max(0.0, began + turns[0].at_s - time.monotonic()))
        for turn in turns:
            await self.submit(turn)

    async def submit(self, job: PlannedJob) -> str | None:
        """Send a job and begin to follow it, if it is to be followed."""
        self._evidence.write(event="planned", **job.facts())
        insist = self.sender.submit if job.via == "http" else self.producers.submit
        job_id = await insist(job)
        self._evidence.write(event="known", number=job.number, key=job.key, job=job_id)
        if job_id is None:
            return None
        self.known[job.number] = job_id
        self._tenants[job_id] = job.tenant
        if job.kind == "cancel":
            await asyncio.sleep(self.sender.random.uniform(0.2, 2.0))
            status = await self.sender.cancel(job_id, job.tenant)
            self._evidence.write(event="cancel", job=job_id, status=status)
        if job.kind == "burst" and job.via == "http":
            await self.sender.send(job, changed=True)
        if job.follow is not None:
            follow = self._follower.follow(job_id, job.follow, until=self._over)
            self._following.append(asyncio.create_task(follow, name=f"follow {job_id}"))
        return job_id


@asynccontextmanager
async def running_load(
    stack: RunningStack, *, seed: int, partitioner: str = "murmur2_random"
) -> AsyncIterator[Load]:
    """Clients of a stack; transcripts go to its evidence."""
    folder = stack.layout.evidence
    evidence = Journal(folder / "jobs.jsonl")
    producers = DirectProducers(
        stack.kafka, Journal(folder / "direct.jsonl"), partitioner=partitioner
    )
    await producers.start()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        keys = stack.tenants
        random = Random(f"clients {seed}")
        sender = Sender(stack.gateway, keys, session, Journal(folder / "submits.jsonl"), random)
        follower = Follower(
            stack.gateway,
            stack.notifier,
            keys["dev"],
            session,
            Journal(folder / "streams.jsonl"),
            random,
        )
        try:
            yield Load(sender, producers, follower, evidence)
        finally:
            await producers.stop()
