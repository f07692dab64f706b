"""Watches processes from outside: do they say that they are ready, and what do they weigh?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aiohttp
import psutil

from tests.promises.journal import Journal
from tests.promises.stack.running import RunningStack

__all__ = ["observed"]

_READINESS_S = 0.5
_MEMORY_S = 2.0


@asynccontextmanager
async def observed(stack: RunningStack, labels: Iterable[str] | None = None) -> AsyncIterator[None]:
    """Keep `readiness.jsonl` and `memory.jsonl` of some services (None: all) until the end."""
    chosen = list(labels) if labels is not None else [label for _, label in stack.layout.services]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as session:
        tasks = [asyncio.create_task(_watch_memory(stack, chosen), name="watch memory")]
        tasks += [
            asyncio.create_task(_watch_readiness(stack, session, label), name=f"watch {label}")
            for label in chosen
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _watch_readiness(stack: RunningStack, session: aiohttp.ClientSession, label: str) -> None:
    """A line whenever it says something else; no answer is not ready."""
    journal = Journal(stack.layout.evidence / "readiness.jsonl")
    url = f"http://127.0.0.1:{stack.layout.ports.admin[label]}/readyz"
    known: tuple[bool, str] | None = None
    while True:
        try:
            async with session.get(url) as answer:
                is_ready, why = answer.status == 200, (await answer.text())[:300]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            is_ready, why = False, type(error).__name__
        told = (is_ready, "".join(letter for letter in why if not letter.isdigit()))
        if told != known:
            known = told
            journal.write(label=label, ready=is_ready, why=why)
        await asyncio.sleep(_READINESS_S)


async def _watch_memory(stack: RunningStack, labels: list[str]) -> None:
    journal = Journal(stack.layout.evidence / "memory.jsonl")
    while True:
        for label in labels:
            pid = stack.fleet.pid(label)
            try:
                process = psutil.Process(pid) if pid is not None else None
                if process is not None:
                    journal.write(
                        label=label,
                        pid=pid,
                        rss=process.memory_info().rss,
                        fds=process.num_fds(),
                        threads=process.num_threads(),
                    )
            except psutil.Error:
                continue
        await asyncio.sleep(_MEMORY_S)
