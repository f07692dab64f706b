"""`penstock control` against a real broker; the tenant keeps tests apart."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from penstock.cli.who import operator
from penstock.errors import ExitStatus
from penstock_contracts.topics import CONTROL
from penstock_kit.control import ControlBoard
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import Record
from penstock_kit.settings import KafkaSettings

from tests.support import waiting

PATIENCE_S = 20.0


@pytest.fixture
async def kafka(kafka_bootstrap: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap=kafka_bootstrap)
    await ensure_topics(settings, [CONTROL])
    return settings


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    error: str


async def control(kafka: KafkaSettings, *words: str) -> Result:
    """`penstock control` with these words, as a program."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penstock", "control", *words),
        *("--kafka", kafka.bootstrap, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), error.decode())


def answer(result: Result) -> Any:
    assert result.status == 0, result.error
    return json.loads(result.out)


async def names(kafka: KafkaSettings, tenant: str) -> list[str]:
    rules = answer(await control(kafka, "list"))
    return [rule["name"] for rule in rules if rule["selector"].get("tenant") == tenant]


until = partial(waiting.until, within_s=PATIENCE_S)


async def test_rule_when_put_and_cleared_then_a_running_worker_hears_it(
    kafka: KafkaSettings,
) -> None:
    tenant = f"t-{uuid4().hex[:8]}"
    record = Record("t", 0, 0, b"k", b"{}", [("ce_tenant", tenant.encode())])
    board = ControlBoard(kafka, MemoryKafka().producer())
    await board.start()
    try:
        put = answer(await control(kafka, "pause", "--tenant", tenant, "--for", "5m"))
        await until(lambda: board.rules.verdict(record) is not None)
        assert put["name"] == f"pause-tenant-{tenant}"
        assert put["by"] == operator()
        assert datetime.fromisoformat(put["expires_at"]) > datetime.now(timezone.utc)
        assert await names(kafka, tenant) == [put["name"]]

        answer(await control(kafka, "limit", "3", "--tenant", tenant, "--name", put["name"]))
        await until(lambda: (v := board.rules.verdict(record)) is not None and bool(v.limits))

        answer(await control(kafka, "clear", put["name"]))
        await until(lambda: board.rules.verdict(record) is None)
        assert await names(kafka, tenant) == []
    finally:
        await board.stop()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["pause"], ExitStatus.WRONG_USE),
        (["pause", "--all", "--tenant", "x"], ExitStatus.WRONG_USE),
        (["drop", "--argument", "nothing"], ExitStatus.WRONG_USE),
        (["drop", "--tenant", "no tenant"], ExitStatus.WRONG_USE),
        (["demote", "--task", "chat", "--for", "soon"], ExitStatus.WRONG_USE),
        (["clear"], ExitStatus.WRONG_USE),
        (["clear", "x", "--all"], ExitStatus.WRONG_USE),
        (["clear", "never-there"], ExitStatus.NOT_FOUND),
    ],
)
async def test_control_when_the_line_makes_no_sense_then_status_and_remedy(
    kafka: KafkaSettings, words: list[str], status: ExitStatus
) -> None:
    result = await control(kafka, *words)

    assert result.status == status, result.error
    assert json.loads(result.error.splitlines()[-1])["error"]["fix"]
