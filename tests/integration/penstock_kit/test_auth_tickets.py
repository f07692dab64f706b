"""Socket tickets against a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone

import pytest
from penstock.dev.ports import PortPicker
from penstock_contracts.credentials import Scope
from penstock_kit.auth.principal import AuthError, Principal
from penstock_kit.auth.tickets import Tickets, _key
from penstock_kit.jobs.view import TableAway
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.settings import RedisSettings
from pydantic import SecretStr

ANN = Principal(
    tenant="acme",
    user="ann",
    level=Scope.TENANT,
    credential="key1",
    expires_at=datetime(2030, 1, 1, tzinfo=timezone.utc),
)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisClient]:
    client = connect_redis(RedisSettings(url=SecretStr(redis_url)), name="test")
    yield client
    await client.aclose()


async def test_ticket_lets_its_bearer_in_once(redis: RedisClient) -> None:
    tickets = Tickets(redis)
    ticket = await tickets.issue(ANN)

    assert await tickets.redeem(ticket) == ANN

    with pytest.raises(AuthError) as refused:
        await tickets.redeem(ticket)
    assert refused.value.code == "invalid_ticket"


async def test_only_one_of_many_who_redeem_at_once_gets_in(redis: RedisClient) -> None:
    tickets = Tickets(redis)
    ticket = await tickets.issue(ANN)

    answers = await asyncio.gather(
        *(tickets.redeem(ticket) for _ in range(20)), return_exceptions=True
    )

    assert answers.count(ANN) == 1
    assert sum(isinstance(answer, AuthError) for answer in answers) == 19


async def test_ticket_is_void_after_its_lifetime_and_never_kept_in_clear(
    redis: RedisClient,
) -> None:
    ticket = await Tickets(redis).issue(ANN)
    keys = [key async for key in redis.scan_iter("ps:ticket:*")]
    lifetimes = [await redis.pttl(key) for key in keys]
    assert lifetimes
    assert all(0 < lifetime <= 30_000 for lifetime in lifetimes)
    assert not any(ticket.encode() in key for key in keys)

    brief = Tickets(redis, lifetime=timedelta(milliseconds=1))
    ticket = await brief.issue(ANN)
    async with asyncio.timeout(5):
        while await redis.exists(_key(ticket)):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.001)

    with pytest.raises(AuthError):
        await brief.redeem(ticket)


@pytest.mark.parametrize("ticket", ["", "*", "a" * 43, "é" * 43, "a" * 10_000, "a" * 42 + "\n"])
async def test_made_up_tickets_are_refused(redis: RedisClient, ticket: str) -> None:
    with pytest.raises(AuthError) as refused:
        await Tickets(redis).redeem(ticket)

    assert refused.value.code == "invalid_ticket"


async def test_redis_that_is_away_is_told_as_such() -> None:
    url = f"redis://127.0.0.1:{PortPicker().pick()}/0"
    client = connect_redis(RedisSettings(url=SecretStr(url)), name="test")

    with pytest.raises(TableAway):
        await Tickets(client).issue(ANN)
    with pytest.raises(TableAway):
        await Tickets(client).redeem("a" * 43)
    await client.aclose()
