"""Changes of one endpoint by two gateways: none takes another's back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from gateway.errors import ApiError
from gateway.webhook_endpoints.book import SOURCE, EndpointBook
from penstock_contracts.topics import WEBHOOK_ENDPOINTS
from penstock_contracts.webhooks import (
    WebhookEndpoint,
    WebhookRecordAdapter,
)
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import BrokerFault
from penstock_kit.tenancy import TenantScope
from penstock_kit.webhooks.endpoints import WebhookEndpoints
from penstock_kit.webhooks.table import endpoint_record, endpoint_tombstones

from tests.support.clock import HandClock
from tests.support.webhooks import ENDPOINT, NOW, MemoryEndpointLog, an_endpoint

ACME = TenantScope("acme")


class Elsewhere:
    """Another gateway, or the command line: writes whole records."""

    def __init__(self, kafka: MemoryKafka) -> None:
        self._kafka = kafka
        self._producer = kafka.producer()

    async def writes(self, endpoint: WebhookEndpoint) -> None:
        await self._producer.start()
        record = endpoint_record(endpoint, source=SOURCE, now=NOW, event_id="1")
        await self._producer.send(record)

    async def deletes(self) -> None:
        await self._producer.start()
        for record in endpoint_tombstones(ENDPOINT):
            await self._producer.send(record)


class Overtaken(MemoryEndpointLog):
    """Somebody else writes just before each of the next looks."""

    def __init__(self, kafka: MemoryKafka, endpoints: WebhookEndpoints) -> None:
        super().__init__(kafka, endpoints)
        self.before: list[Callable[[], Awaitable[None]]] = []

    async def catch_up(self) -> bool:
        if self.before:
            await self.before.pop(0)()
        return await super().catch_up()


class World:
    """A gateway's book over a log in memory."""

    def __init__(self) -> None:
        self.kafka = MemoryKafka([WEBHOOK_ENDPOINTS.name])
        self.endpoints = WebhookEndpoints()
        self.log = Overtaken(self.kafka, self.endpoints)
        self.producer = self.kafka.producer()
        self.clock = HandClock()
        self.elsewhere = Elsewhere(self.kafka)
        self.book = EndpointBook(
            endpoints=self.endpoints, log=self.log, producer=self.producer, clock=self.clock
        )

    def written(self) -> list[WebhookEndpoint]:
        found = []
        for record in self.kafka.records(WEBHOOK_ENDPOINTS.name):
            told = WebhookRecordAdapter.validate_json(record.value or b"")
            assert isinstance(told, WebhookEndpoint)
            found.append(told)
        return found


@pytest.fixture
async def world() -> World:
    made = World()
    await made.producer.start()
    await made.book.put(an_endpoint())
    return made


def described(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    return endpoint.model_copy(update={"description": "mine"})


async def test_change_stands_on_what_was_written_elsewhere_a_moment_ago(world: World) -> None:
    await world.elsewhere.writes(an_endpoint(generation=2, url="https://b.example.com/"))

    view = await world.book.newest(ACME, ENDPOINT)
    await world.book.change(view, described)

    last = world.written()[-1]
    assert (last.generation, last.url, last.description) == (2, "https://b.example.com/", "mine")


async def test_change_that_is_taken_back_at_the_same_moment_is_made_again(world: World) -> None:
    """Both had read the same record; the other one's is the later in the log."""
    view = await world.book.newest(ACME, ENDPOINT)
    world.log.before = [lambda: world.elsewhere.writes(an_endpoint(url="https://b.example.com/"))]

    changed = await world.book.change(view, lambda one: one.model_copy(update={"generation": 2}))

    last = world.written()[-1]
    assert changed.endpoint == last
    assert (last.generation, last.url) == (2, "https://b.example.com/")


async def test_change_is_one_record_where_nobody_else_writes(world: World) -> None:
    late = NOW.replace(microsecond=123_456)
    view = await world.book.newest(ACME, ENDPOINT)

    await world.book.change(view, lambda one: one.model_copy(update={"enabled_at": late}))
    again = await world.book.newest(ACME, ENDPOINT)
    await world.book.change(again, lambda one: one.model_copy(update={"enabled_at": late}))

    assert len(world.written()) == 2


async def test_change_that_is_taken_back_for_ever_is_not_called_done(world: World) -> None:
    view = await world.book.newest(ACME, ENDPOINT)
    world.log.before = [lambda: world.elsewhere.writes(an_endpoint())] * 100

    with pytest.raises(ApiError) as refused:
        await world.book.change(view, described)

    assert refused.value.kind.code == "broker_busy"
    assert len(world.written()) < 10


async def test_endpoint_that_is_deleted_elsewhere_meanwhile_is_not_found(world: World) -> None:
    view = await world.book.newest(ACME, ENDPOINT)
    world.log.before = [world.elsewhere.deletes]

    with pytest.raises(ApiError) as refused:
        await world.book.change(view, described)

    assert refused.value.kind.code == "webhook_endpoint_not_found"


async def test_endpoint_that_was_made_elsewhere_is_found_at_once(world: World) -> None:
    fresh = an_endpoint(7)
    await world.elsewhere.writes(fresh)

    assert world.book.known(ACME, fresh.id) is None
    assert (await world.book.find(ACME, fresh.id)).endpoint == fresh


async def test_log_that_cannot_be_read_is_told_before_anything_is_written(world: World) -> None:
    world.log.is_away = True

    with pytest.raises(ApiError) as change:
        await world.book.newest(ACME, ENDPOINT)
    with pytest.raises(ApiError) as miss:
        await world.book.find(ACME, an_endpoint(7).id)

    assert {change.value.kind.code, miss.value.kind.code} == {"broker_busy"}
    assert (await world.book.find(ACME, ENDPOINT)).endpoint.id == ENDPOINT, "it is known here"


async def test_change_that_the_log_has_stands_though_nobody_can_read_on(world: World) -> None:
    view = await world.book.newest(ACME, ENDPOINT)
    world.log.is_away = True

    changed = await world.book.change(view, described)

    assert changed.endpoint.description == "mine"
    assert len(world.written()) == 2


async def test_producer_that_is_dead_is_an_answer_to_try_again(world: World) -> None:
    view = await world.book.newest(ACME, ENDPOINT)
    world.kafka.faults.on_send = lambda _: BrokerFault("fenced; start again")

    with pytest.raises(ApiError) as refused:
        await world.book.change(view, described)

    assert refused.value.kind.code == "broker_busy"
