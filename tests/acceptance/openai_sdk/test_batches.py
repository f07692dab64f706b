"""`client.files` and `client.batches` of the `openai` package, unmodified, against the stack."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types import Batch

from tests.acceptance.conftest import Stack, StackStarter
from tests.support.batches import chat_line, jsonl
from tests.support.provider_process import ProviderProcess, fake_provider

pytestmark = pytest.mark.timeout(300)

LINES = 240
PROVIDER_SCRIPT = "tokens=20;rate=40"
"""A call takes half a second: at any moment some lines are over, some run, some wait."""
OVER = {"completed", "failed", "expired", "cancelled"}


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[ProviderProcess]:
    with fake_provider(tmp_path, script=PROVIDER_SCRIPT) as process:
        yield process


def client_of(stack: Stack) -> openai.AsyncOpenAI:
    base_url = f"{stack.dev.gateway}/v1"
    return openai.AsyncOpenAI(base_url=base_url, api_key=stack.dev.user_key, max_retries=8)


async def batch_of(client: openai.AsyncOpenAI, *lines: Any) -> Batch:
    file = await client.files.create(file=("lines.jsonl", jsonl(*lines)), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )


async def until_over(client: openai.AsyncOpenAI, batch: Batch) -> Batch:
    async with asyncio.timeout(200):
        while (found := await client.batches.retrieve(batch.id)).status not in OVER:  # noqa: ASYNC110 - polled as users do
            await asyncio.sleep(0.2)
    return found


async def content(client: openai.AsyncOpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    text = (await client.files.content(file_id)).text
    return [json.loads(line) for line in text.splitlines()]


def called(provider: ProviderProcess) -> Counter[str]:
    """How often the provider was called for each job."""
    return Counter(call["job"] for call in provider.calls() if call["event"] == "charged")


async def test_batch_when_its_gateway_is_killed_then_nothing_is_lost_or_called_twice(
    start_stack: StackStarter, provider: ProviderProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_GATEWAY__BATCH_WINDOW", "64")  # so that most lines still wait
    stack = start_stack(providers=provider.providers, replicas="gateway=2")
    async with client_of(stack) as client:
        lines = [chat_line(f"line-{number}") for number in range(LINES)]
        for line in lines:
            line["body"]["model"] = "fake"
        batch = await batch_of(client, *lines)
        async with asyncio.timeout(90):
            while len(called(provider)) < LINES // 4:  # noqa: ASYNC110 - the log of another process
                await asyncio.sleep(0.02)
        (runner,) = (number for number in (1, 2) if "batch.began" in stack.log("gateway", number))
        os.kill(stack.pid("gateway", runner), signal.SIGKILL)
        found = await until_over(client, batch)

        output = await content(client, found.output_file_id)
        events = await _events(stack, batch.id)

    calls = called(provider)
    assert found.status == "completed"
    assert found.request_counts is not None
    assert found.request_counts.model_dump() == {"total": LINES, "completed": LINES, "failed": 0}
    assert sorted(line["custom_id"] for line in output) == sorted(
        line["custom_id"] for line in lines
    )
    assert {job: count for job, count in calls.items() if count != 1} == {}
    assert len(calls) == LINES
    told = [event["custom_id"] for event in events if event["type"] == "batch.line.completed"]
    assert set(told) == {line["custom_id"] for line in lines}
    assert events[-1]["type"] == "batch.completed"


async def test_batch_when_cancelled_while_it_waits_for_another_then_it_ends_at_once(
    start_stack: StackStarter, provider: ProviderProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_GATEWAY__TENANT_BATCHES_AT_ONCE", "1")
    stack = start_stack(providers=provider.providers)
    async with client_of(stack) as client:
        first = await batch_of(client, *(_line(str(number)) for number in range(2000)))
        async with asyncio.timeout(60):
            while (await client.batches.retrieve(first.id)).status != "in_progress":  # noqa: ASYNC110 - polled as users do
                await asyncio.sleep(0.1)
        waiting = await batch_of(client, _line("a"))
        with pytest.raises(openai.ConflictError) as refused:
            await client.files.delete(waiting.input_file_id)
        cancelled = await client.batches.cancel(waiting.id)
        looked = await client.batches.retrieve(waiting.id)
        ended = await until_over(client, waiting)
        meanwhile = await client.batches.retrieve(first.id)
        gone = await client.files.delete(waiting.input_file_id)
        await client.batches.cancel(first.id)
        await until_over(client, first)

    assert refused.value.code == "file_in_use"
    assert cancelled.status == "cancelling"
    assert looked.status in {"cancelling", "cancelled"}
    assert ended.status == "cancelled"
    assert ended.request_counts is not None
    assert ended.request_counts.failed == 1
    assert meanwhile.status == "in_progress"
    assert gone.deleted is True


async def test_files_and_batches_when_used_by_the_sdk_then_typed_objects_come_back(
    start_stack: StackStarter, provider: ProviderProcess
) -> None:
    stack = start_stack(providers=provider.providers)
    async with client_of(stack) as client:
        broken = await until_over(client, await batch_of(client, _line("a"), _line("a")))
        mixed = await until_over(client, await batch_of(client, _line("b"), _line("c")))
        listed = [batch.id async for batch in client.batches.list(limit=1)]
        answers = await content(client, mixed.output_file_id)
        files = [file.id async for file in client.files.list(purpose="batch", limit=1)]
        gone = await client.files.delete(files[0])
        with pytest.raises(openai.NotFoundError) as missing:
            await client.files.retrieve(files[0])
        with pytest.raises(openai.BadRequestError) as refused:
            await client.files.create(file=("x", b"{}"), purpose="fine-tune")
        with pytest.raises(openai.ConflictError):
            await client.batches.cancel(mixed.id)
        long = await batch_of(client, *(_line(str(number)) for number in range(2000)))
        cancelled = await client.batches.cancel(long.id)
        ended = await until_over(client, long)

    assert broken.status == "failed"
    assert broken.errors is not None
    assert broken.errors.data is not None
    assert [(error.code, error.line) for error in broken.errors.data] == [
        ("duplicate_custom_id", 2)
    ]
    assert mixed.status == "completed"
    assert {answer["custom_id"] for answer in answers} == {"b", "c"}
    assert answers[0]["response"]["body"]["object"] == "chat.completion"
    assert listed[:2] == [mixed.id, broken.id]
    assert len(files) == 2
    assert gone.deleted is True
    assert missing.value.code == "file_not_found"
    assert refused.value.param == "purpose"
    assert cancelled.status in {"cancelling", "cancelled"}
    assert ended.status == "cancelled"
    assert ended.request_counts is not None
    assert ended.request_counts.completed + ended.request_counts.failed == 2000


def _line(custom_id: str) -> dict[str, Any]:
    line = chat_line(custom_id)
    line["body"]["model"] = "fake"
    return line


async def _events(stack: Stack, batch: str) -> list[dict[str, Any]]:
    url = f"{stack.dev.gateway}/v1/batches/{batch}/events"
    headers = {"authorization": f"Bearer {stack.dev.user_key}"}
    async with httpx.AsyncClient(timeout=30) as http:
        text = (await http.get(url, headers=headers)).text
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
