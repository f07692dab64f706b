"""The client against a real Redis: nobody ever reads another caller's reply."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from penstock_kit.jobs.view import TableAway
from penstock_kit.redis_client import RedisClient, Script, connect_redis, redis_errors
from penstock_kit.settings import RedisSettings
from pydantic import SecretStr

CANCELS = 10_000


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisClient]:
    settings = RedisSettings(url=SecretStr(redis_url), timeout=timedelta(seconds=10))
    client = connect_redis(settings, name="tests")
    yield client
    await client.aclose()


@pytest.mark.timeout(300)
async def test_ten_thousand_cancels_leave_no_foreign_reply(redis: RedisClient) -> None:
    chance = random.Random(7)
    foreign: list[tuple[bytes, object]] = []

    async def echo(number: int) -> None:
        word = f"w{number}".encode()
        reply = await redis.echo(word)
        if reply != word:
            foreign.append((word, reply))

    async def pipelined(number: int) -> None:
        async with redis.pipeline(transaction=False) as pipe:
            words = [f"p{number}-{part}".encode() for part in range(3)]
            for word in words:
                pipe.echo(word)
            replies = await pipe.execute()
        if replies != words:
            foreign.append((words[0], replies))

    for start in range(0, CANCELS, 50):
        calls = [
            asyncio.create_task((echo if number % 3 else pipelined)(number))
            for number in range(start, start + 100)
        ]
        for call in calls[::2]:
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    assert foreign == []
    assert await asyncio.wait_for(redis.echo(b"still usable"), 10) == b"still usable"


async def test_script_when_redis_forgot_it_is_loaded_again(redis: RedisClient) -> None:
    script = Script(redis, "return tonumber(ARGV[1]) + 1  -- a test of its own")

    await redis.script_flush()
    one = await script.run([], [1])
    await redis.script_flush()
    many = await script.run_many([([], [1]), ([], [2])])

    assert (one, many) == (2, [2, 3])


async def test_errors_of_an_absent_redis_are_table_away_in_time() -> None:
    settings = RedisSettings(
        url=SecretStr("redis://127.0.0.1:1/0"), timeout=timedelta(milliseconds=200)
    )
    client = connect_redis(settings, name="tests")

    async with asyncio.timeout(5):
        with pytest.raises(TableAway, match="PENSTOCK_REDIS__URL"), redis_errors("testing"):
            await client.get("x")
    await client.aclose()
