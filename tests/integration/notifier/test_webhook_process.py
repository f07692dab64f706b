"""A notifier as a process of its own, real Kafka, and a receiver with TLS of its own authority."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import web
from penstock.dev.ports import PortPicker
from penstock_contracts.topics import FIXED_TOPICS, RETRY_DELAYS_S, retry_topic
from penstock_contracts.webhooks import WebhookEndpoint, webhook_key
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.settings import KafkaSettings
from penstock_kit.webhooks.deliveries import Notice, delivery_record
from penstock_kit.webhooks.endpoints import WebhookEndpoints
from penstock_kit.webhooks.secrets import WebhookSecrets
from penstock_kit.webhooks.table import WebhookTable, endpoint_record
from standardwebhooks import Webhook

from tests.support.webhook_receiver import Authority, Got, Receiver, receiver

pytestmark = pytest.mark.timeout(240)

SECRET = "a secret of tests, 32 bytes or more"


class Deployment:
    """Topics, one tenant, and notifiers that come and go."""

    def __init__(self, kafka: KafkaSettings, redis_url: str, folder: Path) -> None:
        self.kafka = kafka
        self.folder = folder
        self.producer = KafkaProducer(kafka)
        self.tenant = f"t{uuid4().hex[:8]}"
        self.authority = Authority.make(folder)
        self.environment = {
            "PATH": os.environ["PATH"],
            "PENSTOCK_KAFKA__BOOTSTRAP": kafka.bootstrap,
            "PENSTOCK_REDIS__URL": redis_url,
            "PENSTOCK_BLOBS__URL": folder.as_uri(),
            "PENSTOCK_AUTH__ID_SECRET": SECRET,
            "PENSTOCK_ADMIN__PORT": "0",
            "PENSTOCK_NOTIFIER__PORT": str(PortPicker().pick()),
            "PENSTOCK_WEBHOOKS__ALLOW_LOOPBACK": "true",
            "PENSTOCK_NOTIFIER__WEBHOOKS__CA_FILE": str(self.authority.ca),
            "PENSTOCK_NOTIFIER__WEBHOOKS__SCHEDULE": json.dumps(["1s", "1s", "1s", "1s"]),
            "PENSTOCK_NOTIFIER__WEBHOOKS__ENDPOINT_IN_FLIGHT": "32",
        }
        self._starts = 0

    @asynccontextmanager
    async def notifier(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """One process that delivers, killed at the end if it has not ended."""
        self._starts += 1
        log = self.folder / f"notifier-{self._starts}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "notifier", env=self.environment, stdout=out, stderr=out
            )
        try:
            async with asyncio.timeout(90):
                while b"service.started" not in log.read_bytes():
                    assert process.returncode is None, log.read_text()
                    await asyncio.sleep(0.02)
            yield process
            assert b"token=private" not in log.read_bytes()
            assert b"whsec_" not in log.read_bytes()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def endpoint(self, to: Receiver) -> WebhookEndpoint:
        """An endpoint of the tenant at the receiver."""
        now = datetime.now(timezone.utc)
        made = WebhookEndpoint(
            id=f"we_{uuid4().hex}",
            tenant=self.tenant,
            url=f"https://127.0.0.1:{to.port}/in?token=private",
            events=["*"],
            enabled_at=now,
            created_at=now,
        )
        record = endpoint_record(made, source="/test", now=now, event_id=uuid4().hex)
        await self.producer.send(record)
        return made

    async def happen(self, endpoint: WebhookEndpoint, count: int) -> list[str]:
        """Events for the endpoint; their ids."""
        now = datetime.now(timezone.utc)
        notices = [
            Notice(self.tenant, "response.completed", f"resp_{uuid4().hex}", now)
            for _ in range(count)
        ]
        await asyncio.gather(
            *(
                self.producer.send(delivery_record(notice, endpoint.id, source="/test"))
                for notice in notices
            )
        )
        return [notice.id for notice in notices]


@pytest.fixture
async def deployment(
    kafka_bootstrap: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Deployment]:
    made = Deployment(KafkaSettings(bootstrap=kafka_bootstrap), redis_url, tmp_path)
    retries = [retry_topic(delay) for delay in RETRY_DELAYS_S]
    await ensure_topics(made.kafka, [*FIXED_TOPICS, *retries], partitions=2)
    await made.producer.start()
    yield made
    await made.producer.stop()


async def test_killed_notifier_loses_nothing_and_repeats_with_the_same_id(
    deployment: Deployment,
) -> None:
    async def slowly(_: Got) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return web.Response(status=200)

    async with receiver(deployment.authority, answer=slowly) as to:
        endpoint = await deployment.endpoint(to)
        ids = await deployment.happen(endpoint, 400)
        async with deployment.notifier() as first:
            await to.until(lambda: len(to.got) >= 100)
            first.send_signal(signal.SIGKILL)
            await first.wait()
        before = len(to.got)
        assert before < 400, "it was done before it could be killed"
        async with deployment.notifier():
            await to.until(lambda: set(ids) <= set(to.ids), timeout_s=120)

    assert set(to.ids) == set(ids)
    bodies: dict[str, set[bytes]] = {}
    webhook = Webhook(WebhookSecrets(SECRET.encode()).present(endpoint))
    for one in to.got:
        bodies.setdefault(one.headers["webhook-id"], set()).add(one.body)
        webhook.verify(one.body, one.headers)
    assert all(len(found) == 1 for found in bodies.values())


async def test_failed_tries_come_again_by_the_retry_topics_and_410_ends_them(
    deployment: Deployment,
) -> None:
    answers: dict[str, list[int]] = {}

    async def scripted(got: Got) -> web.StreamResponse:
        said = answers.setdefault(got.headers["webhook-id"], [])
        said.append((503, 404, 200)[len(said)])
        return web.Response(status=said[-1])

    async with receiver(deployment.authority, answer=scripted) as to, deployment.notifier():
        endpoint = await deployment.endpoint(to)
        await deployment.happen(endpoint, 5)
        await to.until(lambda: [said[-1] for said in answers.values()] == [200] * 5)
    assert all(said == [503, 404, 200] for said in answers.values())

    async def gone(_: Got) -> web.StreamResponse:
        return web.Response(status=410)

    async with receiver(deployment.authority, answer=gone) as to, deployment.notifier():
        endpoint = await deployment.endpoint(to)
        await deployment.happen(endpoint, 1)
        await to.until(lambda: len(to.got) == 1)
        assert await _reason(deployment, endpoint) == "gone"
        await deployment.happen(endpoint, 3)
        other = await deployment.endpoint(to)
        await deployment.happen(other, 1)
        await to.until(lambda: len(to.got) == 2)
    assert len(to.got) == 2


async def _reason(deployment: Deployment, endpoint: WebhookEndpoint) -> str:
    """Why the topic says that the endpoint gets nothing any more."""
    endpoints = WebhookEndpoints()
    table = WebhookTable(deployment.kafka, endpoints)
    await table.start()
    try:
        async with asyncio.timeout(30):
            while True:
                view = endpoints.get(webhook_key(endpoint))
                if view is not None and view.suspension is not None:
                    return view.suspension.reason.value
                await asyncio.sleep(0.02)  # another process's write
    finally:
        await table.stop()
