"""Submit → 202: open loop at a fixed rate; latency counts from the moment a send was due."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from bench.rows import Row, percentile
from bench.stack import MODEL, Stack

RATE = 200
SECONDS = 10
REPETITIONS = 3
WARM_UP = 200
REASON = (
    "the two cores also run the jobs, the broker and this client, about 10 ms of CPU per job in "
    "all: 200/s saturates them, so a request waits for a core"
)
BODY = {
    "task": "chat",
    "model": MODEL,
    "input": {"messages": [{"role": "user", "content": "[[tokens=1]] " + "x" * 900}]},
}


async def measure(stack: Stack) -> list[Row]:
    """Rows of p50 and p99 in milliseconds over `REPETITIONS` runs."""
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(stack.gateway, headers=headers, connector=connector) as http:
        await asyncio.gather(*(_submit(http, time.perf_counter()) for _ in range(WARM_UP)))
        runs = [await _run(http) for _ in range(REPETITIONS)]
    return [
        Row.at_most(
            f"submit to 202, {RATE}/s, p50",
            "ms",
            [percentile(run, 50) for run in runs],
            5,
            if_missed=REASON,
        ),
        Row.at_most(
            f"submit to 202, {RATE}/s, p99",
            "ms",
            [percentile(run, 99) for run in runs],
            25,
            if_missed=REASON,
        ),
    ]


async def _run(http: aiohttp.ClientSession) -> list[float]:
    began = time.perf_counter()
    tasks = []
    for number in range(RATE * SECONDS):
        due = began + number / RATE
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        tasks.append(asyncio.create_task(_submit(http, due)))
    return list(await asyncio.gather(*tasks))


async def _submit(http: aiohttp.ClientSession, due: float) -> float:
    async with http.post("/v1/jobs", json=BODY) as response:
        await response.read()
        if response.status != 202:
            raise RuntimeError(f"expected 202, got {response.status}: {await response.text()}")
    return (time.perf_counter() - due) * 1000
