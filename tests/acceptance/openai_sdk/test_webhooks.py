"""Webhooks at real processes, read by the `openai` package as it is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from aiohttp import web
from openai.types.webhooks import (
    BatchCompletedWebhookEvent,
    ResponseCompletedWebhookEvent,
    ResponseFailedWebhookEvent,
)
from penstock.errors import ExitStatus

from tests.acceptance.conftest import Stack, StackStarter
from tests.acceptance.openai_sdk.conftest import MODEL, ScriptedStack
from tests.support.batches import jsonl
from tests.support.provider_process import fake_provider
from tests.support.webhook_receiver import Got, Receiver, receiver

pytestmark = pytest.mark.timeout(300)


@asynccontextmanager
async def an_endpoint(stack: Stack, to: Receiver, **body: Any) -> AsyncIterator[dict[str, Any]]:
    """An endpoint of the tenant, deleted afterwards."""
    headers = {"authorization": f"Bearer {stack.dev.api_key}"}
    url = f"{stack.dev.gateway}/v1/webhook_endpoints"
    async with httpx2.AsyncClient(headers=headers) as http:
        made = await http.post(url, json={"url": f"http://127.0.0.1:{to.port}/in", **body})
        assert made.status_code == 201, made.text
        try:
            yield made.json()
        finally:
            await http.delete(f"{url}/{made.json()['id']}")


async def test_response_in_the_background_is_told_by_a_webhook_that_the_package_unwraps(
    scripted: ScriptedStack, aclient: openai.AsyncOpenAI
) -> None:
    async with receiver() as to, an_endpoint(scripted.stack, to, events=["response.*"]) as endpoint:
        response = await aclient.responses.create(model=MODEL, input="hello", background=True)
        await to.until(lambda: len(to.got) == 1)

        event = aclient.webhooks.unwrap(
            to.got[0].body, to.got[0].headers, secret=endpoint["secret"]
        )
        assert isinstance(event, ResponseCompletedWebhookEvent)
        assert event.data.id == response.id
        found = await aclient.responses.retrieve(event.data.id)
        assert found.status == "completed"
        with pytest.raises(openai.InvalidWebhookSignatureError):
            aclient.webhooks.unwrap(
                to.got[0].body + b" ", to.got[0].headers, secret=endpoint["secret"]
            )


async def test_failed_response_is_told_and_chats_are_not(
    scripted: ScriptedStack, aclient: openai.AsyncOpenAI
) -> None:
    async with receiver() as to, an_endpoint(scripted.stack, to) as endpoint:
        await aclient.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hello"}]
        )
        response = await aclient.responses.create(
            model=MODEL, input="[[status=400]]", background=True
        )
        await to.until(lambda: len(to.got) >= 1)

        event = aclient.webhooks.unwrap(
            to.got[0].body, to.got[0].headers, secret=endpoint["secret"]
        )
    assert isinstance(event, ResponseFailedWebhookEvent)
    assert event.data.id == response.id
    assert len(to.got) == 1


async def test_rotated_secret_and_the_old_one_both_verify_a_test_delivery(
    scripted: ScriptedStack, aclient: openai.AsyncOpenAI
) -> None:
    stack = scripted.stack
    async with receiver() as to, an_endpoint(stack, to, events=["batch.*"]) as endpoint:
        url = f"{stack.dev.gateway}/v1/webhook_endpoints/{endpoint['id']}"
        headers = {"authorization": f"Bearer {stack.dev.api_key}"}
        async with httpx2.AsyncClient(headers=headers) as http:
            rotated = (await http.post(f"{url}/rotate_secret")).json()
            sent = await http.post(f"{url}/test", json={"type": "response.completed"})
        await to.until(lambda: len(to.got) == 1)

        for secret in (endpoint["secret"], rotated["secret"]):
            event = aclient.webhooks.unwrap(to.got[0].body, to.got[0].headers, secret=secret)
            assert event.id == sent.json()["event_id"]


async def test_endpoint_that_the_package_made_is_told_and_its_old_secret_ends_at_once(
    scripted: ScriptedStack,
) -> None:
    stack = scripted.stack
    async with (
        receiver() as to,
        openai.AsyncOpenAI(base_url=scripted.base_url, api_key=stack.dev.api_key) as owner,
    ):
        made = await owner.webhooks.create(
            event_types=["response.completed"], name="mine", url=f"http://127.0.0.1:{to.port}/in"
        )
        try:
            rotated = await owner.webhooks.rotate_secret(
                made.id, keep_old_secret_active_for_24_hours=False
            )
            changed = await owner.webhooks.update(made.id, name="ours")
            response = await owner.responses.create(model=MODEL, input="hello", background=True)
            await to.until(lambda: len(to.got) == 1)
        finally:
            await owner.webhooks.delete(made.id)

        body, headers = to.got[0].body, to.got[0].headers
        event = owner.webhooks.unwrap(body, headers, secret=rotated.signing_secret)
        assert isinstance(event, ResponseCompletedWebhookEvent)
        assert (event.data.id, changed.name) == (response.id, "ours")
        with pytest.raises(openai.InvalidWebhookSignatureError):
            owner.webhooks.unwrap(body, headers, secret=made.signing_secret)


async def test_batch_is_told_once_and_its_lines_are_not(
    scripted: ScriptedStack, aclient: openai.AsyncOpenAI
) -> None:
    lines = [
        {
            "custom_id": f"line-{number}",
            "method": "POST",
            "url": "/v1/responses",
            "body": {"model": MODEL, "input": f"hello {number}"},
        }
        for number in range(5)
    ]
    async with receiver() as to, an_endpoint(scripted.stack, to) as endpoint:
        file = await aclient.files.create(file=("lines.jsonl", jsonl(*lines)), purpose="batch")
        batch = await aclient.batches.create(
            input_file_id=file.id, endpoint="/v1/responses", completion_window="24h"
        )
        await to.until(lambda: len(to.got) >= 1, timeout_s=120)

        event = aclient.webhooks.unwrap(
            to.got[0].body, to.got[0].headers, secret=endpoint["secret"]
        )
        assert isinstance(event, BatchCompletedWebhookEvent)
        assert event.data.id == batch.id
        found = await aclient.batches.retrieve(batch.id)
        assert found.status == "completed"
        assert found.request_counts is not None
        assert found.request_counts.completed == 5
    assert len(to.got) == 1


async def test_command_line_makes_lists_rotates_and_removes_endpoints(
    scripted: ScriptedStack, aclient: openai.AsyncOpenAI
) -> None:
    stack = scripted.stack

    def cli(*words: str) -> Any:
        done = stack.cli("webhook", *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    async with receiver() as to:
        url = f"http://127.0.0.1:{to.port}/in"
        made = cli("add", url, "--tenant", stack.dev.tenant, "--events", "response.*")
        response = await aclient.responses.create(model=MODEL, input="hello", background=True)
        await to.until(lambda: len(to.got) == 1)
        event = aclient.webhooks.unwrap(to.got[0].body, to.got[0].headers, secret=made["secret"])
        assert isinstance(event, ResponseCompletedWebhookEvent)
        assert event.data.id == response.id

        assert cli("rotate", made["id"])["secret"] != made["secret"]
        cli("disable", made["id"])
        (listed,) = cli("list", "--tenant", stack.dev.tenant)
        assert (listed["id"], listed["state"], listed["url"]) == (made["id"], "disabled", url)
        cli("enable", made["id"])
        cli("remove", made["id"])
        assert cli("list", "--tenant", stack.dev.tenant) == []
    refused = stack.cli("webhook", "add", "https://10.0.0.1/", "--tenant", "dev")
    assert refused.returncode == ExitStatus.WRONG_USE
    assert "public" in refused.stderr
    assert stack.cli("webhook", "rotate", "we_" + "0" * 32).returncode != 0


async def test_notifier_that_is_killed_in_the_middle_loses_no_delivery(
    start_stack: StackStarter, tmp_path: Path
) -> None:
    """SIGKILL while receivers hold their answers back: all are told, repeats have the same id."""
    count = 60

    async def slowly(_: Got) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return web.Response(status=200)

    with fake_provider(tmp_path, script="tokens=2;rate=1000") as provider:
        stack = start_stack(providers=provider.providers)
        async with (
            openai.AsyncOpenAI(
                base_url=f"{stack.dev.gateway}/v1", api_key=stack.dev.api_key
            ) as client,
            receiver(answer=slowly) as to,
            an_endpoint(stack, to),
        ):
            asked = [
                client.responses.create(model=MODEL, input=f"hello {number}", background=True)
                for number in range(count)
            ]
            responses = await asyncio.gather(*asked)
            await to.until(lambda: len(to.got) >= count // 4)
            os.kill(stack.pid("notifier"), signal.SIGKILL)
            await to.until(lambda: len(set(to.ids)) == count, timeout_s=120)

    told: dict[str, set[bytes]] = {}
    for one in to.got:
        told.setdefault(one.headers["webhook-id"], set()).add(one.body)
    assert all(len(bodies) == 1 for bodies in told.values())
    subjects = Counter(
        response.id
        for response in responses
        for bodies in told.values()
        if response.id.encode() in next(iter(bodies))
    )
    assert subjects == dict.fromkeys((response.id for response in responses), 1)
