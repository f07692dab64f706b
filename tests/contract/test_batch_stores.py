"""Shelves and events of batches keep the same contract in Redis and in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import pytest
from penstock_contracts.batches import BatchChanged, BatchCounts
from penstock_contracts.codec import encode_model
from penstock_contracts.topics import BATCH_EVENTS
from penstock_kit.batches.events import BatchEvents, KeptEvent, RedisBatchEvents
from penstock_kit.batches.fold import BatchFold
from penstock_kit.batches.lease import BatchHeld, BatchLeases
from penstock_kit.batches.memory import MemoryBatchEvents, MemoryRecalls, MemoryShelf
from penstock_kit.batches.recalls import Recalls, RedisRecalls
from penstock_kit.batches.shelf import PageAsk, RedisShelf, Shelf, Shelved
from penstock_kit.jobs.coverage import FoldMarks
from penstock_kit.jobs.stored import EPOCH_KEY
from penstock_kit.jobs.view import TableAway
from penstock_kit.kafka.ports import Record
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.settings import RedisSettings
from penstock_kit.tenancy import TenantScope
from pydantic import SecretStr

NOW = datetime.now(timezone.utc)


@dataclass
class Bench:
    shelf: Shelf
    events: MemoryBatchEvents | RedisBatchEvents
    recalls: Recalls
    tenant: str

    @property
    def scope(self) -> TenantScope:
        return TenantScope(self.tenant)

    def record(self, name: str, *, version: int = 1, user: str = "ann", age_s: int = 0) -> Shelved:
        return Shelved(
            scope=self.scope,
            user=user,
            id=name,
            version=version,
            created_at=NOW - timedelta(seconds=age_s),
            keep_until=NOW + timedelta(hours=1),
            value=f"{name} {version}".encode(),
        )


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisClient]:
    client = connect_redis(RedisSettings(url=SecretStr(redis_url)), name="test")
    yield client
    await client.aclose()


@pytest.fixture(params=["memory", "redis"])
async def bench(request: pytest.FixtureRequest, redis: RedisClient) -> Bench:
    tenant = f"t{uuid4().hex[:12]}"
    if request.param == "memory":
        return Bench(MemoryShelf(), MemoryBatchEvents(), MemoryRecalls(), tenant)
    await redis.set(EPOCH_KEY, "whole")
    return Bench(RedisShelf(redis, "batch"), RedisBatchEvents(redis), RedisRecalls(redis), tenant)


async def test_put_when_an_older_version_comes_later_then_the_newer_stays(bench: Bench) -> None:
    assert await bench.shelf.put(bench.record("a", version=2)) is True
    assert await bench.shelf.put(bench.record("a", version=1)) is False
    assert await bench.shelf.put(bench.record("a", version=2)) is False

    assert await bench.shelf.get(bench.scope, "a") == b"a 2"


async def test_get_when_of_another_user_or_tenant_then_nothing(bench: Bench) -> None:
    await bench.shelf.put(bench.record("a"))

    assert await bench.shelf.get(TenantScope(bench.tenant, "ann"), "a") == b"a 1"
    assert await bench.shelf.get(TenantScope(bench.tenant, "bob"), "a") is None
    assert await bench.shelf.get(TenantScope("other"), "a") is None


async def test_drop_when_done_then_neither_found_nor_listed(bench: Bench) -> None:
    await bench.shelf.put(bench.record("a"))
    await bench.shelf.put(bench.record("b", age_s=5))

    await bench.shelf.drop(bench.scope, "a")
    page = await bench.shelf.page(bench.scope, PageAsk())

    assert await bench.shelf.get(bench.scope, "a") is None
    assert page is not None
    assert page.values == [b"b 1"]


async def test_due_when_records_expire_then_told_until_they_are_dropped(bench: Bench) -> None:
    late = replace(bench.record("late"), due_at=NOW - timedelta(seconds=1))
    early = replace(bench.record("early"), due_at=NOW + timedelta(hours=1))
    for record in (late, early, bench.record("never")):
        await bench.shelf.put(record)

    due = await bench.shelf.due(NOW, limit=1000)
    await bench.shelf.drop(bench.scope, "late")
    left = await bench.shelf.due(NOW, limit=1000)

    assert (bench.scope, "late") in due
    assert (bench.scope, "early") not in due
    assert (bench.scope, "late") not in left


async def test_page_when_asked_in_either_order_then_goes_on_after_a_record(bench: Bench) -> None:
    for number in range(450):
        await bench.shelf.put(bench.record(f"r{number:03}", age_s=number, user="ab"[number % 2]))

    newest = await bench.shelf.page(bench.scope, PageAsk(limit=2))
    oldest = await bench.shelf.page(bench.scope, PageAsk(after="r448", is_ascending=True))
    some = await bench.shelf.page(
        TenantScope(bench.tenant, "a"),
        PageAsk(limit=3, accepts=lambda value: value.startswith(b"r44")),
    )
    unknown = await bench.shelf.page(bench.scope, PageAsk(after="nobody"))

    assert newest is not None
    assert (newest.values, newest.has_more) == ([b"r000 1", b"r001 1"], True)
    assert oldest is not None
    assert oldest.values[:2] == [b"r447 1", b"r446 1"]
    assert some is not None
    assert (some.values, some.has_more) == ([b"r440 1", b"r442 1", b"r444 1"], True)
    assert unknown is None


async def test_events_when_repeated_then_kept_once_and_read_after_a_number(bench: Bench) -> None:
    events: BatchEvents = bench.events
    kept = [KeptEvent(number, "batch.line.completed", b"%d" % number) for number in range(5)]

    await bench.events.keep([(bench.scope, "b", event) for event in [*kept, *kept[:3]]])

    assert await events.read(bench.scope, "b", after=-1) == kept
    assert await events.read(bench.scope, "b", after=1, limit=2) == kept[2:4]
    assert await events.read(TenantScope("other"), "b", after=-1) == []


async def test_recalls_when_noted_then_the_first_instant_is_told_to_that_tenant(
    bench: Bench,
) -> None:
    await bench.recalls.note(bench.scope, "a", NOW)
    await bench.recalls.note(bench.scope, "a", NOW + timedelta(hours=1))

    assert await bench.recalls.asked(bench.scope, ["b", "a"]) == [None, NOW]
    assert await bench.recalls.asked(TenantScope("other"), ["a"]) == [None]
    assert await bench.recalls.asked(bench.scope, []) == []


async def test_shelf_when_redis_came_up_empty_then_away_instead_of_unknown(
    redis: RedisClient,
) -> None:
    await redis.delete(EPOCH_KEY)

    with pytest.raises(TableAway, match="filled again"):
        await RedisShelf(redis, "batch").get(TenantScope("t"), "a")
    with pytest.raises(TableAway, match="filled again"):
        await RedisBatchEvents(redis).read(TenantScope("t"), "a", after=-1)


async def test_shelf_when_redis_is_filled_again_then_only_what_is_final_is_told(
    redis: RedisClient,
) -> None:
    """What stands there is what the log said first; a run that began from it would never end."""
    scope = TenantScope(f"t{uuid4().hex[:12]}")
    shelf = RedisShelf(redis, "batch", is_final=lambda value: value == b"over 1")
    bench = Bench(shelf, RedisBatchEvents(redis), RedisRecalls(redis), scope.tenant)
    await shelf.put(bench.record("over"))
    await redis.delete(EPOCH_KEY)

    found = await shelf.get(scope, "over")
    listed = await shelf.page(scope, PageAsk())
    await shelf.put(bench.record("going-on"))

    assert found == b"over 1"
    assert listed is not None
    with pytest.raises(TableAway, match="filled again"):
        await shelf.get(scope, "going-on")
    with pytest.raises(TableAway, match="filled again"):
        await shelf.page(scope, PageAsk())
    await redis.set(EPOCH_KEY, "whole")
    assert await shelf.get(scope, "going-on") == b"going-on 1"


async def test_events_when_folded_then_readers_know_how_far_the_view_is(
    redis: RedisClient,
) -> None:
    marks = FoldMarks(redis, topic=BATCH_EVENTS.name)
    place = int(time.monotonic_ns() % 1_000_000_000)
    fold = BatchFold(redis, on_skip=lambda _, error: pytest.fail(str(error)))
    changed = BatchChanged(
        type="batch.in_progress",
        batch="batch_" + "0" * 42,
        sequence_number=0,
        at=NOW,
        counts=BatchCounts(),
    )
    headers = [("ce_tenant", f"t{uuid4().hex[:12]}".encode())]
    record = Record(
        topic=BATCH_EVENTS.name,
        partition=place,
        offset=41,
        key=b"b",
        value=encode_model(changed),
        headers=headers,
        timestamp_ms=0,
    )

    await fold.take([record])

    assert (await marks.read())[place] == 42
    assert place not in await FoldMarks(redis).read()


async def test_lease_when_held_by_another_then_busy_until_it_is_left(redis: RedisClient) -> None:
    scope = TenantScope(f"t{uuid4().hex[:12]}")
    one, other = (BatchLeases(redis, owner=name) for name in ("one", "other"))

    async with one.hold(scope, "b", on_lost=lambda: None):
        with pytest.raises(BatchHeld):
            async with other.hold(scope, "b", on_lost=lambda: None):
                pass
    async with other.hold(scope, "b", on_lost=lambda: None):
        assert await redis.get(scope.batch_lease_key("b")) == b"other"
    assert await redis.get(scope.batch_lease_key("b")) is None
