"""The view of conversations on a real Redis: written, never written, lost, away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from gateway.openai.conversations.ports import ViewIncomplete
from gateway.openai.conversations.redis_view import RedisConversations
from penstock_contracts.codec import encode_model
from penstock_contracts.conversations import ConversationState
from penstock_kit.jobs.view import TableAway
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.settings import RedisSettings
from penstock_kit.tenancy import CONVERSATIONS_COMPLETE, TenantScope
from pydantic import SecretStr

from tests.support.redis_server import native_redis

SCOPE = TenantScope("acme")
STATE = ConversationState(
    tenant="acme",
    conversation="c",
    turn=1,
    job="job_x",
    messages=[],
    at=datetime(2026, 1, 1, tzinfo=timezone.utc),
)


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisClient]:
    with native_redis(tmp_path) as url:
        client = connect_redis(RedisSettings(url=SecretStr(url)), name="test")
        yield client
        await client.aclose()


async def test_view_has_what_a_worker_wrote_for_its_tenant_alone(redis: RedisClient) -> None:
    view = RedisConversations(redis)
    await redis.set(CONVERSATIONS_COMPLETE, b"1")
    await redis.set(SCOPE.conversation_key("c"), encode_model(STATE))

    assert await view.find(SCOPE, "c") == STATE
    assert await view.find(TenantScope("other"), "c") is None
    assert await view.find(SCOPE, "d") is None


async def test_view_when_redis_came_up_empty_does_not_say_that_there_is_none(
    redis: RedisClient,
) -> None:
    view = RedisConversations(redis)
    with pytest.raises(ViewIncomplete):
        await view.find(SCOPE, "c")
    await redis.set(SCOPE.conversation_key("c"), encode_model(STATE))

    assert await view.find(SCOPE, "c") == STATE


async def test_view_when_redis_is_away_says_so() -> None:
    client = connect_redis(RedisSettings(url=SecretStr("redis://127.0.0.1:1/0")), name="test")
    with pytest.raises(TableAway):
        await RedisConversations(client).find(SCOPE, "c")
    await client.aclose()
