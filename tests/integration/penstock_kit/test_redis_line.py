"""A script line on a real Redis: everybody gets its own reply, whatever happens to others."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from penstock.dev.ports import LOOPBACK, PortPicker
from penstock.dev.process import end_group, run_process
from penstock.dev.redis import redis_spec
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.redis_line import Argument, ScriptLine
from penstock_kit.settings import RedisSettings
from pydantic import SecretStr
from redis.exceptions import RedisError, ResponseError

from tests.support.waiting import redis_answers

ECHO = (
    "if ARGV[1] == 'bad' then return redis.error_reply('WRONG bad') end return {KEYS[1], ARGV[1]}"
)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisClient]:
    client = connect_redis(RedisSettings(url=SecretStr(redis_url)), name="test")
    yield client
    await client.aclose()


@pytest.fixture
async def line(redis: RedisClient) -> AsyncIterator[ScriptLine]:
    line = ScriptLine(redis, ECHO)
    yield line
    await line.stop()


async def test_call_when_many_wait_gives_each_its_own_reply(line: ScriptLine) -> None:
    asked = ["\u00fc", "a b\r\nc", "", *map(str, range(1000))]

    replies = await asyncio.gather(*(line.call(["k"], [text]) for text in asked))

    assert [reply[1].decode() for reply in replies] == asked


async def test_call_when_others_are_cancelled_gets_its_own_reply(line: ScriptLine) -> None:
    chance, foreign = random.Random(7), 0

    async def ask(number: int) -> None:
        nonlocal foreign
        reply = await line.call(["k"], [number])
        foreign += reply[1] != str(number).encode()

    for round_number in range(40):
        calls = [asyncio.create_task(ask(round_number * 50 + at)) for at in range(50)]
        for call in chance.sample(calls, 25):
            asyncio.get_running_loop().call_later(chance.random() / 500, call.cancel)
        await asyncio.wait(calls)

    assert foreign == 0
    assert (await line.call(["k"], ["last"]))[1] == b"last"


async def test_call_when_one_is_refused_answers_the_others(line: ScriptLine) -> None:
    replies = await asyncio.gather(
        *(line.call(["k"], [text]) for text in ("1", "bad", "2")), return_exceptions=True
    )

    assert [replies[0], replies[2]] == [[b"k", b"1"], [b"k", b"2"]]
    assert isinstance(replies[1], ResponseError)


async def test_call_when_redis_forgot_the_script_loads_it(
    line: ScriptLine, redis: RedisClient
) -> None:
    await line.call(["k"], ["1"])
    await redis.script_flush()

    replies = await asyncio.gather(*(line.call(["k"], [number]) for number in range(5)))

    assert [reply[1] for reply in replies] == [b"0", b"1", b"2", b"3", b"4"]


async def test_call_when_redis_was_restarted_uses_a_fresh_connection(tmp_path: Path) -> None:
    port = PortPicker().pick()
    spec = redis_spec(data=tmp_path / "redis", port=port, log=tmp_path / "log", keep=False)
    client = connect_redis(RedisSettings(url=SecretStr(f"redis://{LOOPBACK}:{port}/0")), name="t")
    line = ScriptLine(client, ECHO)
    process = run_process(spec)
    await redis_answers(client)
    await line.call(["k"], ["1"])

    end_group(process, timeout_s=2)
    with pytest.raises((RedisError, OSError)):
        await line.call(["k"], ["2"])
    process = run_process(spec)
    await redis_answers(client)

    assert (await line.call(["k"], ["3"]))[1] == b"3"
    await line.stop()
    await line.stop()
    await client.aclose()
    end_group(process, timeout_s=2)


async def test_call_when_redis_is_silent_gives_up_and_nobody_gets_a_late_reply(
    redis_url: str, redis: RedisClient
) -> None:
    settings = RedisSettings(url=SecretStr(redis_url), timeout=timedelta(milliseconds=200))
    client = connect_redis(settings, name="hurried")
    line = ScriptLine(client, ECHO)
    await line.call(["k"], ["1"])
    await redis.client_pause(1000)

    replies = await asyncio.gather(
        *(line.call(["k"], [number]) for number in range(300)), return_exceptions=True
    )
    await redis.client_unpause()

    assert {type(reply) for reply in replies} == {TimeoutError}
    assert (await line.call(["k"], ["2"]))[1] == b"2"
    await line.stop()
    await client.aclose()


async def test_call_many_gives_every_reply_in_order(line: ScriptLine) -> None:
    calls: list[tuple[list[str], list[Argument]]] = [(["k"], [number]) for number in range(600)]

    replies = await line.call_many(calls)

    assert [int(reply[1]) for reply in replies] == list(range(600))
    assert await line.call_many([]) == []


async def test_call_many_when_one_is_refused_runs_the_others_and_raises(line: ScriptLine) -> None:
    with pytest.raises(ResponseError):
        await line.call_many([(["k"], ["1"]), (["k"], ["bad"]), (["k"], ["2"])])

    assert await line.call(["k"], ["3"]) == [b"k", b"3"]
