"""Conversations on a real Kafka and a Redis that forgets, refuses and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from llm_worker.conversation_log import ConversationLog, conversation_record
from penstock_contracts.codec import encode_model
from penstock_contracts.conversations import ConversationState
from penstock_contracts.requests import ChatMessage
from penstock_contracts.topics import CONVERSATIONS
from penstock_kit.errors import Busy
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.ports import OutRecord
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.settings import KafkaSettings, RedisSettings
from penstock_kit.tail.table import OnChange, TopicTable
from penstock_kit.tenancy import CONVERSATIONS_COMPLETE, TenantScope
from pydantic import SecretStr

from tests.support.redis_server import native_redis
from tests.support.waiting import redis_answers

pytestmark = pytest.mark.timeout(120)

TTL_S = 3600
AT = datetime(2026, 1, 1, tzinfo=timezone.utc)


@dataclass
class Ground:
    """Kafka, an empty Redis, and processes that share them."""

    kafka: KafkaSettings
    producer: KafkaProducer
    redis: RedisClient
    scope: TenantScope = field(default_factory=lambda: TenantScope(f"t{uuid4().hex[:12]}"))
    read_backs: int = 0
    topic: str = CONVERSATIONS.name

    def process(self) -> ConversationLog:
        """What one worker has of conversations."""
        return ConversationLog(
            producer=self.producer, redis=self.redis, reader=self._reader, ttl_s=TTL_S
        )

    def state(self, turn: int, text: str = "", *, conversation: str = "c") -> ConversationState:
        """A finished turn."""
        return ConversationState(
            tenant=self.scope.tenant,
            conversation=conversation,
            turn=turn,
            job=f"job-{turn}",
            messages=[ChatMessage(role="user", content=text or f"turn {turn}")],
            at=AT,
        )

    async def hold(self, state: ConversationState) -> None:
        """Put a state into Redis, as if another process had."""
        key = self.scope.conversation_key(state.conversation)
        await self.redis.set(key, encode_model(state))

    async def held(self, conversation: str = "c") -> int | None:
        """The turn that Redis holds."""
        raw = await self.redis.get(self.scope.conversation_key(conversation))
        return None if raw is None else ConversationState.model_validate_json(raw).turn

    @asynccontextmanager
    async def full_redis(self) -> AsyncIterator[None]:
        """Redis answers reads and refuses writes."""
        await self.redis.config_set("maxmemory-policy", "noeviction")
        await self.redis.config_set("maxmemory", "1")
        try:
            yield
        finally:
            await self.redis.config_set("maxmemory", "0")

    def _reader(self, on_change: OnChange) -> TopicTable:
        self.read_backs += 1
        return TopicTable(self.kafka, self.topic, on_change, missing_limit=timedelta(0))


@pytest.fixture
async def ground(kafka_bootstrap: str, tmp_path: Path) -> AsyncIterator[Ground]:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap)
    await ensure_topics(kafka, [CONVERSATIONS], partitions=2)
    producer = KafkaProducer(kafka)
    await producer.start()
    try:
        with native_redis(tmp_path) as url:
            redis = connect_redis(RedisSettings(url=SecretStr(url)), name="tests")
            await redis_answers(redis)
            yield Ground(kafka, producer, redis)
            await redis.aclose()
    finally:
        await producer.stop()


async def test_turn_when_appended_is_seen_by_every_process_and_expires(ground: Ground) -> None:
    writer, reader = ground.process(), ground.process()
    state = ground.state(1)
    assert await reader.load(ground.scope, "c") is None

    await writer.append(ground.scope, state)

    assert await writer.load(ground.scope, "c") == state
    assert await reader.load(ground.scope, "c") == state
    assert await reader.load(TenantScope("another"), "c") is None
    assert 0 < await ground.redis.ttl(ground.scope.conversation_key("c")) <= TTL_S
    assert ground.read_backs == 1, "only the first look-up on an empty Redis reads the topic"


async def test_redis_when_it_lost_all_is_filled_by_one_read_of_the_topic(ground: Ground) -> None:
    writer = ground.process()
    for turn in (1, 2):
        await writer.append(ground.scope, ground.state(turn))
    await writer.append(ground.scope, ground.state(5, conversation="d/e"))
    await ground.redis.flushall()
    process = ground.process()
    ground.read_backs = 0

    found = await asyncio.gather(*(process.load(ground.scope, name) for name in ("c", "d/e") * 5))

    assert {state.turn for state in found if state} == {2, 5}
    assert None not in found
    assert ground.read_backs == 1
    assert await ground.redis.get(CONVERSATIONS_COMPLETE) == b"1"
    assert 0 < await ground.redis.ttl(ground.scope.conversation_key("c")) <= TTL_S


async def test_read_back_when_redis_holds_other_turns_keeps_the_later_one(ground: Ground) -> None:
    writer = ground.process()
    for name in ("behind", "ahead"):
        await writer.append(ground.scope, ground.state(2, conversation=name))
    await ground.hold(ground.state(1, conversation="behind"))
    await ground.hold(ground.state(3, conversation="ahead"))
    await ground.redis.delete(CONVERSATIONS_COMPLETE)
    process = ground.process()

    behind = await process.load(ground.scope, "behind")
    ahead = await process.load(ground.scope, "ahead")

    assert (behind and behind.turn, ahead and ahead.turn) == (2, 3)


async def test_read_back_leaves_out_deleted_malformed_and_misplaced_records(
    ground: Ground,
) -> None:
    good, gone = ground.state(1, conversation="good"), ground.state(1, conversation="gone")
    misplaced = conversation_record(ground.state(1, conversation="misplaced"))
    foreign = f"{ground.scope.tenant}/stolen".encode()
    records = [
        conversation_record(good),
        conversation_record(gone),
        OutRecord(CONVERSATIONS.name, conversation_record(gone).key, None, ()),
        OutRecord(CONVERSATIONS.name, foreign, misplaced.value, misplaced.headers),
        OutRecord(CONVERSATIONS.name, f"{ground.scope.tenant}/torn".encode(), b"{", ()),
    ]
    for record in records:
        await ground.producer.send(record)

    loaded = await ground.process().load(ground.scope, "good")

    assert loaded == good
    assert [await ground.held(name) for name in ("gone", "misplaced", "stolen", "torn")] == [
        None
    ] * 4


async def test_read_back_when_the_topic_cannot_be_read_lets_jobs_wait(ground: Ground) -> None:
    ground.topic = "no-such-topic"
    process = ground.process()

    with pytest.raises(Busy, match="conversations cannot be read back yet"):
        await process.load(ground.scope, "c")
    assert await ground.redis.get(CONVERSATIONS_COMPLETE) is None

    ground.topic = CONVERSATIONS.name
    assert await process.load(ground.scope, "c") is None


async def test_turn_that_redis_refused_is_kept_and_written_before_the_next_look_up(
    ground: Ground,
) -> None:
    process, other = ground.process(), ground.process()
    await process.append(ground.scope, ground.state(1))
    await process.load(ground.scope, "c")

    async with ground.full_redis():
        await process.append(ground.scope, ground.state(2))
        with pytest.raises(Busy, match="Redis refused"):
            await process.load(ground.scope, "c")
        assert await ground.held() == 1
    mine = await process.load(ground.scope, "c")
    theirs = await other.load(ground.scope, "c")

    assert (mine and mine.turn, theirs and theirs.turn) == (2, 2)


async def test_late_write_when_another_process_went_on_keeps_its_turn(ground: Ground) -> None:
    process, other = ground.process(), ground.process()
    async with ground.full_redis():
        await process.append(ground.scope, ground.state(1))
    await other.append(ground.scope, ground.state(2))

    found = await process.load(ground.scope, "c")

    assert found is not None
    assert found.turn == await ground.held() == 2


async def test_stop_writes_what_redis_had_refused(ground: Ground) -> None:
    process = ground.process()
    async with ground.full_redis():
        await process.append(ground.scope, ground.state(1))

    await process.stop()

    assert await ground.held() == 1


async def test_stop_when_redis_still_refuses_ends_and_the_topic_has_the_turn(
    ground: Ground,
) -> None:
    process = ground.process()
    async with ground.full_redis():
        await process.append(ground.scope, ground.state(1))
        await process.stop()

    found = await ground.process().load(ground.scope, "c")

    assert found is not None
    assert found.turn == 1
