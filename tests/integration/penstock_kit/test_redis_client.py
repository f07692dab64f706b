"""The client against a real Redis: nobody ever reads another caller's reply."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from penstock_kit.jobs.view import TableAway
from penstock_kit.redis_client import RedisClient, Script, connect_redis, redis_errors
from penstock_kit.settings import RedisSettings
from pydantic import SecretStr

from tests.support.slow_proxy import slow_proxy

CANCELS = 10_000

leaves_sockets_to_the_collector = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
"""redis-py drops a connection that is cancelled while it connects; the collector closes it. Call
`gc.collect` before the test ends, or the warning hits whoever runs next."""


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisClient]:
    settings = RedisSettings(url=SecretStr(redis_url), timeout=timedelta(seconds=10))
    client = connect_redis(settings, name="tests")
    yield client
    await client.aclose()


@leaves_sockets_to_the_collector
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
    gc.collect()


@leaves_sockets_to_the_collector
@pytest.mark.timeout(300)
@pytest.mark.parametrize("cut", [0.0, 0.01], ids=["late", "late and cut"])
async def test_ten_thousand_cancels_before_a_late_redis_leave_no_foreign_reply(
    redis_url: str, cut: float
) -> None:
    """Replies come late, torn, or not at all; callers give up at any moment, and time out."""
    chance = random.Random(11)
    address = urlsplit(redis_url)
    host, port = address.hostname or "", address.port or 0
    tally: Counter[str] = Counter()

    async def echo(client: RedisClient, number: int) -> None:
        word = f"w{number}".encode()
        with contextlib.suppress(TableAway), redis_errors("echoing"):
            tally["right" if await client.echo(word) == word else "foreign"] += 1

    async def scripted(script: Script, number: int) -> None:
        words = [f"s{number}-{part}".encode() for part in range(3)]
        with contextlib.suppress(TableAway), redis_errors("echoing"):
            replies = await script.run_many([([], [word]) for word in words])
            tally["right" if replies == words else "foreign"] += 1

    async with slow_proxy(host, port, chance=chance, late_s=0.01, cut=cut) as late_port:
        settings = RedisSettings(
            url=SecretStr(f"redis://127.0.0.1:{late_port}/0"), timeout=timedelta(milliseconds=250)
        )
        client = connect_redis(settings, name="tests")
        script = Script(client, "return ARGV[1]")
        for start in range(0, CANCELS, 100):
            calls = [
                asyncio.create_task(echo(client, at) if at % 3 else scripted(script, at))
                for at in range(2 * start, 2 * start + 200)
            ]
            for call in calls[::2]:
                asyncio.get_running_loop().call_later(chance.random() * 0.05, call.cancel)
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            tally["cancelled"] += sum(isinstance(o, asyncio.CancelledError) for o in outcomes)
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(TableAway), redis_errors("echoing"):
                    assert await client.echo(b"still usable") == b"still usable"
                    break
        await client.aclose()

    gc.collect()
    assert tally["foreign"] == 0
    assert tally["cancelled"] > CANCELS / 2, "most were to be cancelled before their reply"
    assert tally["right"] > CANCELS / 4


async def test_many_replies_may_take_longer_together_than_one_alone(redis_url: str) -> None:
    address = urlsplit(redis_url)
    where = (address.hostname or "", address.port or 0)
    async with slow_proxy(*where, chance=random.Random(3), late_s=0.15) as late_port:
        settings = RedisSettings(
            url=SecretStr(f"redis://127.0.0.1:{late_port}/0"), timeout=timedelta(seconds=1)
        )
        client = connect_redis(settings, name="tests")
        script = Script(client, "return string.rep(ARGV[1], 16384)")
        began = asyncio.get_running_loop().time()

        replies = await script.run_many([([], ["x"])] * 100)

        assert asyncio.get_running_loop().time() - began > 1
        assert replies == [b"x" * 16384] * 100
        await client.aclose()


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
