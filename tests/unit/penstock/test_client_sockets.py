"""The client's end of a notifier's socket: what it tries again, and what it gives up."""

from __future__ import annotations

import pytest
from penstock.client.errors import NotFound, Unreachable
from penstock.client.sockets import socket_events

from tests.support.events import a_job
from tests.support.sockets import World, a_world


async def followed(world: World, job: str) -> None:
    async for _ in socket_events(world.url, api_key="key-acme-ann", job=job):
        pass


async def test_follow_when_only_redis_could_tell_then_it_is_worth_another_try() -> None:
    async with a_world() as world:
        world.table.is_away = True

        with pytest.raises(Unreachable, match="try again"):
            await followed(world, a_job())


async def test_follow_when_server_is_full_then_it_is_worth_another_try() -> None:
    async with a_world(max_connections=1) as world, world.client("key-acme-bob"):
        with pytest.raises(Unreachable):
            await followed(world, world.issue())


async def test_follow_when_job_is_unknown_then_not_found() -> None:
    async with a_world() as world:
        with pytest.raises(NotFound):
            await followed(world, a_job())
