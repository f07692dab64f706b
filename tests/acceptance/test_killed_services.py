"""SIGKILL of any one service during 200 running jobs: every accepted job ends, once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from penstock import AsyncClient
from penstock.client.errors import ClientError

from tests.acceptance.conftest import Stack, StackStarter
from tests.support.log_reading import terminal_events
from tests.support.provider_process import ProviderProcess, fake_provider

JOBS = 200
SERVICES = ["gateway", "llm-worker", "recorder", "notifier"]
PROVIDER_SCRIPT = "tokens=150;rate=60"
"""A call takes two and a half seconds, so that all are running when the process dies."""


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[ProviderProcess]:
    with fake_provider(tmp_path, script=PROVIDER_SCRIPT) as process:
        yield process


@pytest.mark.timeout(300)
async def test_every_accepted_job_ends_once_whichever_service_is_killed(
    start_stack: StackStarter, provider: ProviderProcess
) -> None:
    stack = start_stack(providers=provider.providers, replicas="llm-worker=2")
    accepted: set[str] = set()

    for service in SERVICES:
        jobs = await _submit(stack, JOBS)
        await _until_running(provider, at_least=len(accepted) + JOBS // 2)
        os.kill(stack.pid(service), signal.SIGKILL)
        await _until_completed(stack, jobs)
        accepted |= jobs

    ends = terminal_events(stack.dev.kafka)
    assert set(ends) == accepted
    assert {job: names for job, names in ends.items() if len(names) != 1} == {}
    assert Counter(name for names in ends.values() for name in names) == {
        "completed": len(accepted)
    }


@pytest.mark.timeout(300)
async def test_every_accepted_job_ends_once_when_the_embedder_is_killed(
    start_stack: StackStarter, provider: ProviderProcess
) -> None:
    stack = start_stack(providers=provider.providers)
    async with AsyncClient(stack.dev.gateway, stack.dev.api_key) as client:
        texts = {"texts": [f"passage {number} " + "of some length " * 40 for number in range(2)]}
        accepted = {
            job.id
            for job in await asyncio.gather(*(client.submit("embed", texts) for _ in range(JOBS)))
        }
        first = min(accepted)
        await client.result(first, timeout=timedelta(seconds=60))  # some are done, most are not
    os.kill(stack.pid("embedder"), signal.SIGKILL)
    await _until_completed(stack, accepted)

    ends = terminal_events(stack.dev.kafka)
    assert ends == {job: ["completed"] for job in accepted}


async def _submit(stack: Stack, count: int) -> set[str]:
    async with AsyncClient(stack.dev.gateway, stack.dev.api_key) as client:
        jobs = await asyncio.gather(
            *(client.submit("chat", f"job {number}", model="fake") for number in range(count))
        )
    return {job.id for job in jobs}


async def _until_running(provider: ProviderProcess, *, at_least: int) -> None:
    async with asyncio.timeout(60):
        while len({call["job"] for call in provider.calls() if call.get("job")}) < at_least:  # noqa: ASYNC110 - another process's log
            await asyncio.sleep(0.05)


async def _until_completed(stack: Stack, jobs: set[str]) -> None:
    """Every job is seen completed through the API, which may be away for a moment."""
    left = set(jobs)
    async with asyncio.timeout(120), AsyncClient(stack.dev.gateway, stack.dev.api_key) as client:
        while left:
            for job in sorted(left):
                try:
                    if (await client.get(job)).status == "completed":
                        left.discard(job)
                except ClientError:
                    break
            await asyncio.sleep(0.2)
