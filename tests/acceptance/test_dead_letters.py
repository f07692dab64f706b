"""500 dead letters are redriven in a running stack: each runs once, whatever is killed or repeated.

The provider's own log is the judge.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from penstock import AsyncClient
from penstock.client.errors import JobEnded

from tests.acceptance.conftest import Stack, StackStarter
from tests.support.provider_process import ProviderProcess, fake_provider

FILTERED = 500
OTHERS = 120
TASKS = "tasks:\n  chat:\n    kind: chat\n    retry: {attempts: 2, base: 50ms, cap: 100ms}\n"


@pytest.mark.timeout(400)
async def test_filtered_dead_letters_are_redriven_and_each_runs_once(
    start_stack: StackStarter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = tmp_path / "tasks.yaml"
    tasks.write_text(TASKS)
    monkeypatch.setenv("PENSTOCK_LLM_WORKER__DEAD_PER_MINUTE", "10000")
    with fake_provider(tmp_path, script="status=503") as provider:
        port = urlsplit(provider.base_url).port or 0
        stack = start_stack(providers=provider.providers, tasks=tasks, replicas="llm-worker=2")
        filtered = await _submit(stack, stack.dev.api_key, FILTERED)
        others = await _submit(stack, stack.dev.other_api_key, OTHERS)
        await _until_failed(stack, stack.dev.api_key, filtered)
        await _until_failed(stack, stack.dev.other_api_key, others)
        await _until_dead(stack, filtered | others)
    with fake_provider(tmp_path, port=port) as provider:
        redriven = await _plan_then_redrive(stack, provider, filtered)
        assert len(redriven) == FILTERED
        await _until_completed(stack, stack.dev.api_key, redriven)
        assert _charged(provider) == dict.fromkeys(redriven, 1)

        killed = await _redrive_killed_half_way(stack, provider)
        await _until_completed(stack, stack.dev.other_api_key, killed)
        assert len(killed) == OTHERS
        assert _charged(provider) == dict.fromkeys(redriven | killed, 1)
    assert _read(stack, "list")["total"] == 0
    assert await _statuses(stack, stack.dev.api_key, filtered) == {"failed": FILTERED}


async def _plan_then_redrive(
    stack: Stack, provider: ProviderProcess, filtered: set[str]
) -> set[str]:
    """Dry run, real run, a second run; the new jobs."""
    words = ("redrive", "--tenant", stack.dev.tenant, "--code", "provider_*")
    planned = _read(stack, *words, "--dry-run")
    assert _origins(planned["letters"]) == filtered
    assert _charged(provider) == {}

    done = _read(stack, *words, "--rate", "250/s", "--yes")
    again = _read(stack, *words, "--yes")

    assert (done["redriven"], again["redriven"]) == (planned["would_redrive"], 0)
    assert _new_jobs(done["letters"]) == _new_jobs(planned["letters"])
    return _new_jobs(done["letters"])


async def _redrive_killed_half_way(stack: Stack, provider: ProviderProcess) -> set[str]:
    """SIGKILL in the middle, then to the end; the new jobs."""
    planned = _read(stack, "redrive", "--tenant", stack.dev.other_tenant, "--dry-run")
    before = len(_charged(provider))
    process = _start(
        stack, "redrive", "--tenant", stack.dev.other_tenant, "--rate", "30/s", "--yes"
    )
    while len(_charged(provider)) < before + OTHERS // 4:
        assert process.poll() is None, "it was done before it could be killed"
        await asyncio.sleep(0.02)  # another process's log
    process.send_signal(signal.SIGKILL)
    process.wait()

    left = _read(stack, "redrive", "--tenant", stack.dev.other_tenant, "--yes")["redriven"]

    assert 0 < left < planned["would_redrive"]
    return _new_jobs(planned["letters"])


async def _submit(stack: Stack, key: str, count: int) -> set[str]:
    async with AsyncClient(stack.dev.gateway, key) as client:
        jobs = await asyncio.gather(
            *(client.submit("chat", f"job {number}", model="fake") for number in range(count))
        )
    return {job.id for job in jobs}


async def _until_completed(stack: Stack, key: str, jobs: Iterable[str]) -> None:
    async with AsyncClient(stack.dev.gateway, key) as client:
        for job in jobs:
            await client.result(job, timeout=timedelta(seconds=60))


async def _statuses(stack: Stack, key: str, jobs: Iterable[str]) -> Counter[str]:
    async with AsyncClient(stack.dev.gateway, key) as client:
        return Counter([(await client.get(job)).status for job in jobs])


async def _until_failed(stack: Stack, key: str, jobs: Iterable[str]) -> None:
    async with AsyncClient(stack.dev.gateway, key) as client:
        for job in jobs:
            with pytest.raises(JobEnded):
                await client.result(job, timeout=timedelta(seconds=60))


async def _until_dead(stack: Stack, jobs: set[str]) -> None:
    """Each has its letter; a worker that is restarted may write one again."""
    async with asyncio.timeout(120):
        while _origins(_read(stack, "list", "--limit", "0")["letters"]) != jobs:  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.5)


def _read(stack: Stack, *words: str) -> Any:
    done = stack.cli("dlq", *words, "--json", timeout_s=120)
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    return json.loads(done.stdout)


def _start(stack: Stack, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "penstock", "dlq", *words, "--data", str(stack.paths.root)]
    )


def _origins(rows: list[dict[str, Any]]) -> set[str]:
    return {row["job"] for row in rows}


def _new_jobs(rows: list[dict[str, Any]]) -> set[str]:
    return {row["new_job"] for row in rows}


def _charged(provider: ProviderProcess) -> dict[str, int]:
    """How often the provider worked for each job."""
    return dict(Counter(call["job"] for call in provider.calls() if call["event"] == "charged"))
