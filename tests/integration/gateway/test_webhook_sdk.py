"""`client.webhooks` of the `openai` package, unmodified, on a real port; the log is in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import orjson
import pytest
from gateway.wiring import build_server
from penstock_contracts.credentials import Scope
from penstock_contracts.topics import WEBHOOK_DELIVERIES
from penstock_kit.webhooks.secrets import WebhookSecrets

from tests.support.gateway import ID_SECRET, GatewayBench, gateway_settings, make_bench

pytestmark = pytest.mark.timeout(60)

URL = "https://hooks.example.com/in"


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[GatewayBench, openai.AsyncOpenAI]]:
    """A gateway on a port, and a client with a key of the whole tenant."""
    bench = await make_bench()
    server = build_server(gateway_settings(port=0), bench.frame)
    await server.start()
    try:
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{server.port}/v1",
            api_key=bench.new_key(scope=Scope.TENANT),
            max_retries=0,
        ) as client:
            yield bench, client
    finally:
        await server.stop()


def signing(bench: GatewayBench, endpoint: str) -> list[str]:
    """The secrets that a notifier would sign with now."""
    view = bench.inside.webhooks.get(endpoint)
    assert view is not None
    return WebhookSecrets(ID_SECRET.encode()).signing(view.endpoint, now=bench.clock.now())


async def test_endpoint_is_made_looked_at_changed_listed_and_deleted() -> None:
    async with serving() as (bench, client):
        made = await client.webhooks.create(
            event_types=["response.completed", "batch.failed"], name="billing", url=URL
        )
        assert [made.signing_secret] == signing(bench, made.id)
        found = await client.webhooks.retrieve(made.id)
        assert (found.name, found.url, found.event_types) == ("billing", URL, made.event_types)
        assert (found.object, found.created_at) == ("webhook_endpoint", made.created_at)

        changed = await client.webhooks.update(
            made.id, name="sales", url=f"{URL}2", event_types=["batch.completed"]
        )
        assert (changed.name, changed.url) == ("sales", f"{URL}2")
        assert changed.event_types == ["batch.completed"]

        gone = await client.webhooks.delete(made.id)
        assert (gone.id, gone.deleted) == (made.id, True)
        with pytest.raises(openai.NotFoundError):
            await client.webhooks.retrieve(made.id)


async def test_listing_is_followed_over_its_pages() -> None:
    async with serving() as (_, client):
        made = [
            await client.webhooks.create(event_types=["batch.failed"], name=str(number), url=URL)
            for number in range(5)
        ]

        found = [one.id async for one in client.webhooks.list(limit=2)]

    assert sorted(found) == sorted(one.id for one in made)


async def test_rotation_keeps_the_old_secret_only_where_it_is_asked_to() -> None:
    async with serving() as (bench, client):
        made = await client.webhooks.create(event_types=["batch.failed"], name="x", url=URL)

        kept = await client.webhooks.rotate_secret(
            made.id, keep_old_secret_active_for_24_hours=True
        )
        assert signing(bench, made.id) == [kept.signing_secret, made.signing_secret]
        ended = await client.webhooks.rotate_secret(
            made.id, keep_old_secret_active_for_24_hours=False
        )
        assert signing(bench, made.id) == [ended.signing_secret]
        plain = await client.webhooks.rotate_secret(made.id)
        assert signing(bench, made.id) == [plain.signing_secret, ended.signing_secret]


async def test_test_delivery_is_of_the_type_that_was_asked_for() -> None:
    async with serving() as (bench, client):
        made = await client.webhooks.create(event_types=["batch.failed"], name="x", url=URL)

        sent = await client.webhooks.test(made.id, event_type="response.completed")

        (record,) = bench.kafka.records(WEBHOOK_DELIVERIES.name)
    assert (sent.event_type, sent.webhook_endpoint_id) == ("response.completed", made.id)
    assert sent.object == "webhook_endpoint.test"
    assert sent.to_dict()["status_code"] is None, "the receiver has not been asked yet"
    assert orjson.loads(record.value or b"")["type"] == "response.completed"


async def test_event_types_are_those_that_endpoints_may_want() -> None:
    async with serving() as (_, client):
        types = (await client.webhooks.event_types.list()).data
        made = await client.webhooks.create(
            event_types=types,  # type: ignore[arg-type]  # their list of types is longer than ours
            name="all",
            url=URL,
        )

    assert made.event_types == types


async def test_event_that_is_never_told_is_refused_by_name() -> None:
    async with serving() as (_, client):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.webhooks.create(event_types=["video.completed"], name="x", url=URL)

    assert refused.value.param == "event_types[0]"
