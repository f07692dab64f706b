"""Limits of real gateways on a real Redis: exact, in one round trip, and without Redis."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from penstock.dev.ports import LOOPBACK, PortPicker
from penstock.dev.process import end_group, run_process
from penstock.dev.redis import redis_spec
from penstock_kit.redis_client import connect_redis
from penstock_kit.settings import RedisSettings
from pydantic import SecretStr

from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.redis_server import native_redis
from tests.support.waiting import eventually, redis_answers

pytestmark = pytest.mark.timeout(300)
"""A gateway starts in two seconds, and much later where many other things start too."""

CHAT: dict[str, Any] = {"task": "chat", "input": "hello"}
LIMITS = """
limits:
  - {scope: user, task: chat, limit: 50, per: 1h}
  - {scope: tenant, limit: 5000, per: 1d}
backlog: {tenant: 10000000, total: 10000000}
"""


def limits_file(folder: Path, text: str = LIMITS) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / "own-limits.yaml"
    path.write_text(text)
    return str(path)


@asynccontextmanager
async def limited_gateway(
    folder: Path, kafka: str, redis: str, **extra: str
) -> AsyncIterator[GatewayProcess]:
    limits = limits_file(folder)
    async with running_gateway(
        folder,
        kafka_bootstrap=kafka,
        redis_url=redis,
        PENSTOCK_GATEWAY__LIMITS_FILE=limits,
        **extra,
    ) as gateway:
        yield gateway


async def submit_many(clients: list[httpx2.AsyncClient], count: int) -> Counter[int]:
    replies = await asyncio.gather(
        *(clients[at % len(clients)].post("/v1/jobs", json=CHAT) for at in range(count))
    )
    return Counter(reply.status_code for reply in replies)


async def metric(gateway: GatewayProcess, name: str) -> float:
    async with httpx2.AsyncClient() as admin:
        text = (await admin.get(f"{gateway.admin_url}/metrics")).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


async def test_limit_when_two_gateways_share_it_lets_exactly_fifty_pass(
    tmp_path: Path, kafka_bootstrap: str, redis_url: str
) -> None:
    async with (
        limited_gateway(tmp_path / "one", kafka_bootstrap, redis_url) as one,
        limited_gateway(tmp_path / "two", kafka_bootstrap, redis_url) as two,
    ):
        async with one.client() as first, two.client(key=one.key) as second:

            async def knows_the_key() -> bool:
                return (await second.get("/v1/jobs")).status_code != 401

            await eventually(knows_the_key)
            statuses = await submit_many([first, second], 60)
            refused = await second.post("/v1/jobs", json=CHAT)
            other = await first.post("/v1/jobs", json={**CHAT, "task": "embed"})

        assert statuses == {202: 50, 429: 10}
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert 3500 < int(refused.headers["retry-after"]) < 4000
        assert '"user-chat";r=0;t=' in refused.headers["ratelimit"]
        assert other.status_code == 202


async def test_submit_costs_one_round_trip_and_keys_settle_in_batches(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    jobs = 40
    with native_redis(tmp_path) as url:
        async with (
            limited_gateway(tmp_path / "gateway", kafka_bootstrap, url) as gateway,
            gateway.client() as client,
        ):
            await client.post("/v1/jobs", json=CHAT)  # loads the script
            plain = await commands_during(url, client, [{} for _ in range(jobs)])
            keyed = await commands_during(
                url, client, [{"Idempotency-Key": uuid4().hex} for _ in range(jobs)]
            )

    assert plain == {"EVALSHA": jobs}
    assert keyed["EVALSHA"] == jobs
    assert set(keyed) <= {"EVALSHA", "SET"}
    assert keyed["SET"] <= jobs


async def commands_during(
    url: str, client: httpx2.AsyncClient, headers: list[dict[str, str]]
) -> Counter[str]:
    """What Redis is sent from outside (not by scripts) while jobs are submitted."""
    redis = connect_redis(RedisSettings(url=SecretStr(url)), name="monitor")
    found: Counter[str] = Counter()
    async with redis.monitor() as monitor:
        for given in headers:
            reply = await client.post("/v1/jobs", json={**CHAT, "task": "embed"}, headers=given)
            assert reply.status_code == 202
        other = connect_redis(RedisSettings(url=SecretStr(url)), name="mark")
        await other.echo("end-of-test")
        await other.aclose()
        async for command in monitor.listen():
            if "end-of-test" in command["command"]:
                break
            if command["client_type"] != "lua":
                found[command["command"].split(" ")[0].upper()] += 1
    await redis.aclose()
    # What clients say when they connect is no part of a submit.
    return Counter({name: n for name, n in found.items() if name not in ("CLIENT", "SELECT")})


@contextmanager
def redis_at(folder: Path, port: int) -> Iterator[str]:
    spec = redis_spec(data=folder / "redis", port=port, log=folder / "redis.log", keep=False)
    process = run_process(spec)
    try:
        yield f"redis://{LOOPBACK}:{port}/0"
    finally:
        end_group(process, timeout_s=2)


async def test_submit_when_redis_is_killed_goes_on_with_a_part_of_each_limit(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    port = PortPicker().pick()
    url = f"redis://{LOOPBACK}:{port}/0"
    async with limited_gateway(
        tmp_path / "gateway", kafka_bootstrap, url, PENSTOCK_GATEWAY__GATEWAYS="10"
    ) as gateway:
        async with gateway.client() as client, httpx2.AsyncClient() as admin:
            with redis_at(tmp_path, port):
                redis = connect_redis(RedisSettings(url=SecretStr(url)), name="test")
                await redis_answers(redis)
                await redis.aclose()

                async def is_restored() -> bool:
                    await client.post("/v1/jobs", json={**CHAT, "task": "embed"})
                    return await metric(gateway, "penstock_gateway_admission_degraded ") == 0

                await eventually(is_restored)
                whole = await submit_many([client], 20)
            alone = await submit_many([client], 20)
            degraded = await metric(gateway, "penstock_gateway_admission_degraded ")
            ready = await admin.get(f"{gateway.admin_url}/readyz")
            with redis_at(tmp_path, port):
                await eventually(is_restored)
                again = await submit_many([client], 60)
        log = (tmp_path / "gateway" / "gateway.log").read_text()

    assert whole == {202: 20}
    assert alone == {202: 5, 429: 15}
    assert (degraded, ready.status_code) == (1, 200)
    assert "Redis is away" in ready.json()["notes"][0]["reason"]
    assert again == {202: 50, 429: 10}
    assert 1 <= log.count("admission.degraded") <= 2


async def test_submit_when_redis_hangs_is_answered_after_one_time_out(
    tmp_path: Path, kafka_bootstrap: str
) -> None:
    port = PortPicker().pick()
    spec = redis_spec(data=tmp_path / "redis", port=port, log=tmp_path / "redis.log", keep=False)
    process = run_process(spec)
    url = f"redis://{LOOPBACK}:{port}/0"
    try:
        async with (
            limited_gateway(tmp_path / "gateway", kafka_bootstrap, url) as gateway,
            gateway.client() as client,
        ):
            assert await submit_many([client], 10) == {202: 10}
            process.send_signal(signal.SIGSTOP)
            first = await submit_many([client], 10)
            again = await submit_many([client], 10)
            process.send_signal(signal.SIGCONT)

            async def is_restored() -> bool:
                await client.post("/v1/jobs", json={**CHAT, "task": "embed"})
                return await metric(gateway, "penstock_gateway_admission_degraded ") == 0

            await eventually(is_restored)
            alone = await metric(gateway, "penstock_gateway_admissions_local_total ")
    finally:
        end_group(process, timeout_s=2)

    assert (first, again) == ({202: 10}, {202: 10})
    assert alone >= 19


async def test_gateway_when_the_limits_make_no_sense_does_not_start(
    tmp_path: Path, kafka_bootstrap: str, redis_url: str
) -> None:
    path = limits_file(tmp_path, "limits: [{scope: user, task: cat, limit: 1, per: 1h}]")

    with pytest.raises(AssertionError, match="the gateway ended"):
        async with running_gateway(
            tmp_path,
            kafka_bootstrap=kafka_bootstrap,
            redis_url=redis_url,
            PENSTOCK_GATEWAY__LIMITS_FILE=path,
        ):
            pass

    assert "no task is called 'cat'" in (tmp_path / "gateway.log").read_text()
