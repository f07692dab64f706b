"""First token through REST → Kafka → worker → Kafka → WebSocket, less the provider's own 20 ms."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp

from bench.rows import Row, percentile
from bench.stack import MODEL, Stack

STREAMS = 20
ROUNDS = 10
WARM_UP_ROUNDS = 2
REPETITIONS = 3
PROVIDER_MS = 20
REASON = (
    "three Kafka hops and one HTTP call at 3 to 4 ms each where broker, services and client share "
    "two cores; about 1.5 cores are busy at 20 streams"
)
BODY = {
    "task": "chat",
    "model": MODEL,
    "input": {"messages": [{"role": "user", "content": "Tell me something."}]},
}


async def measure(stack: Stack) -> list[Row]:
    """Rows of the added p50 and p99 in milliseconds, `STREAMS` streams at any time."""
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        await _run(http, stack, rounds=WARM_UP_ROUNDS)
        runs = [await _run(http, stack, rounds=ROUNDS) for _ in range(REPETITIONS)]
    p50 = [percentile(run, 50) for run in runs]
    p99 = [percentile(run, 99) for run in runs]
    return [
        Row.at_most(
            f"added to the first token, {STREAMS} streams, p50", "ms", p50, 10, if_missed=REASON
        ),
        Row.at_most(
            f"added to the first token, {STREAMS} streams, p99", "ms", p99, 40, if_missed=REASON
        ),
    ]


async def _run(http: aiohttp.ClientSession, stack: Stack, *, rounds: int) -> list[float]:
    streams = await asyncio.gather(
        *(
            _stream(http, stack, delay_s=number / STREAMS, rounds=rounds)
            for number in range(STREAMS)
        )
    )
    return [added for stream in streams for added in stream]


async def _stream(
    http: aiohttp.ClientSession, stack: Stack, *, delay_s: float, rounds: int
) -> list[float]:
    """One client with one socket: job after job, so that starts are spread over time."""
    await asyncio.sleep(delay_s)
    added = []
    url = f"{stack.notifier}/v1/socket"
    async with http.ws_connect(url, protocols=["penstock.v1.json"], compress=0) as ws:
        await _frame(ws, "ready")
        for _ in range(rounds):
            began = time.perf_counter()
            async with http.post(f"{stack.gateway}/v1/jobs", json=BODY) as response:
                job = (await response.json())["id"]
            await ws.send_json({"type": "subscribe", "job": job})
            added.append((await _first_delta(ws, job) - began) * 1000 - PROVIDER_MS)
    return added


async def _first_delta(ws: aiohttp.ClientWebSocketResponse, job: str) -> float:
    """The moment of the first output; returns when the job is over."""
    first = 0.0
    while True:
        frame = json.loads(await ws.receive_str())
        if frame.get("job") != job:
            continue
        event = frame["event"] if frame["type"] == "event" else frame
        has_output = event.get("type") == "delta" or bool(event.get("deltas"))
        if has_output and not first:
            first = time.perf_counter()
        if event.get("type") == "completed" or event.get("status") == "completed":
            return first or time.perf_counter()


async def _frame(ws: aiohttp.ClientWebSocketResponse, kind: str) -> None:
    while json.loads(await ws.receive_str())["type"] != kind:
        pass
