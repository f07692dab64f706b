"""A client that cannot be stopped must not keep the table from taking another one."""

from __future__ import annotations

import asyncio

import pytest
from penstock_kit.tail import table


class Stubborn:
    """Its `stop` swallows a cancellation, as aiokafka's does while a broker comes back."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.has_ended = asyncio.Event()

    async def stop(self) -> None:
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            await self.let_go.wait()
        self.has_ended.set()


async def test_close_when_the_client_does_not_stop_then_left_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(table, "_CLOSE_LIMIT_S", 0.01)
    client = Stubborn()

    async with asyncio.timeout(5):
        await table._close(client)

    assert not client.has_ended.is_set()
    client.let_go.set()
    await client.has_ended.wait()
