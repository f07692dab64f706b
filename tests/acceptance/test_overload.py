"""Five times as many jobs as the workers can do: kept promises, polite refusals, quick recovery."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.acceptance.conftest import Stack, StackStarter
from tests.support.log_reading import terminal_events
from tests.support.provider_process import fake_provider

IN_FLIGHT = 8
CALL = "tokens=20;rate=20"
"""A second per call: eight at once are about eight jobs per second."""
RATE = 40
SECONDS = 20
DEADLINE_S = 8
JOB: dict[str, Any] = {"task": "chat", "model": "fake", "input": "hello", "deadline_s": DEADLINE_S}


@dataclass
class Load:
    """What callers of the overloaded stack were told."""

    accepted: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    impolite: list[str] = field(default_factory=list)

    def take(self, reply: httpx2.Response) -> None:
        self.statuses[reply.status_code] += 1
        if reply.status_code == 202:
            self.accepted.add(reply.json()["id"])
            return
        self.codes[reply.json()["error"]["code"]] += 1
        retry_after = reply.headers.get("retry-after", "")
        if not (reply.status_code in (429, 503) and retry_after.isdigit() and int(retry_after) > 0):
            self.impolite.append(reply.text)


@pytest.mark.timeout(300)
async def test_overload_is_refused_politely_and_what_is_accepted_meets_its_deadline(
    start_stack: StackStarter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_LLM_WORKER__MAX_IN_FLIGHT", str(IN_FLIGHT))
    with fake_provider(tmp_path, script=CALL) as provider:
        stack = start_stack(providers=provider.providers)
        gateway = psutil.Process(stack.pid("gateway"))
        headers = {"authorization": f"Bearer {stack.dev.api_key}"}
        async with httpx2.AsyncClient(
            base_url=stack.dev.gateway, headers=headers, timeout=30
        ) as client:
            before = gateway.memory_info().rss
            load = await overload(client)
            grown = gateway.memory_info().rss - before
            recovered_s = await until_a_job_completes(client)
            ends = await until_all_ended(stack, load.accepted)

    completed = [job for job in load.accepted if ends[job] == ["completed"]]
    assert load.impolite == []
    assert set(load.codes) == {"deadline_unreachable"}
    assert load.statuses[503] > load.statuses[202] > SECONDS * 5
    assert len(completed) >= 0.99 * len(load.accepted), (load.statuses, len(completed))
    assert grown < 150 << 20
    assert recovered_s <= 10


async def overload(client: httpx2.AsyncClient) -> Load:
    """An open loop: requests go out on time, whatever became of the earlier ones."""
    load, began = Load(), time.monotonic()

    async def one() -> None:
        load.take(await client.post("/v1/jobs", json=JOB))

    async with asyncio.TaskGroup() as group:
        for number in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
            group.create_task(one())
    return load


async def until_a_job_completes(client: httpx2.AsyncClient) -> float:
    """Seconds until a caller that comes back when told so has its result."""
    began = time.monotonic()
    while True:
        reply = await client.post("/v1/jobs", json=JOB, headers={"Prefer": "wait=20"})
        if reply.status_code == 200 and reply.json()["status"] == "completed":
            return time.monotonic() - began
        await asyncio.sleep(int(reply.headers.get("retry-after", "1")))


async def until_all_ended(stack: Stack, jobs: set[str]) -> dict[str, list[str]]:
    async with asyncio.timeout(60):
        while True:
            ends = await asyncio.to_thread(terminal_events, stack.dev.kafka)
            if jobs <= set(ends):
                return ends
            await asyncio.sleep(0.5)
