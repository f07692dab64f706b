"""Records of files and batches that do not say whose they are."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from penstock_contracts.topics import BATCH_EVENTS, FILES
from penstock_kit.batches.fold import BatchFold
from penstock_kit.errors import Rejected
from penstock_kit.jobs.view import TableAway
from penstock_kit.kafka.ports import Record
from penstock_kit.redis_client import connect_redis
from penstock_kit.settings import RedisSettings
from pydantic import SecretStr

EVENT = (
    b'{"type": "batch.in_progress", "batch": "batch_01939ac2b7f07c2c9d5e2f7c1a2b3c4d5e6f708192",'
    b' "sequence_number": 0, "at": "2026-11-21T12:00:01.000Z",'
    b' "counts": {"total": 3, "completed": 0, "failed": 0}}'
)


@pytest.mark.parametrize(
    "headers", [[], [("ce_tenant", b"")], [("ce_tenant", None)]], ids=["none", "empty", "no value"]
)
@pytest.mark.parametrize(("topic", "value"), [(FILES.name, None), (BATCH_EVENTS.name, EVENT)])
async def test_record_when_it_names_no_tenant_is_skipped_and_told(
    topic: str, value: bytes | None, headers: list[Any]
) -> None:
    skipped: list[str] = []

    def note(_: Record, error: Rejected) -> None:
        skipped.append(error.code)

    nowhere = connect_redis(RedisSettings(url=SecretStr("redis://127.0.0.1:1/0")), name="test")
    fold = BatchFold(nowhere, on_skip=note)

    with suppress(TableAway):  # that the place is passed is noted in Redis, and here is none
        await fold.take([Record(topic, 0, 0, b"key", value, headers)])

    assert skipped == ["bad_identity"]
