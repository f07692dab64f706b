"""Places for calls: as many as the provider bears."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from llm_worker.slots import Slots


class Holder:
    """A task that takes a place and keeps it until told."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._end = asyncio.Event()
        self.has = False
        self.task = asyncio.create_task(self._hold())

    async def _hold(self) -> None:
        async with self._slots.place():
            self.has = True
            await self._end.wait()
        self.has = False

    async def end(self) -> None:
        self._end.set()
        await self.task


async def settled(fact: Callable[[], object]) -> None:
    for _ in range(20):
        await asyncio.sleep(0)
    assert fact()


async def test_place_when_all_are_taken_then_first_come_first_served() -> None:
    slots = Slots(2)
    holders = [Holder(slots) for _ in range(4)]
    await settled(lambda: [h.has for h in holders] == [True, True, False, False])

    await holders[1].end()
    await settled(lambda: [h.has for h in holders] == [True, False, True, False])

    for holder in holders:
        await holder.end()
    assert slots.in_use == 0


async def test_place_when_refused_then_fewer_until_answers_come() -> None:
    slots = Slots(10)
    holders = [Holder(slots) for _ in range(20)]
    await settled(lambda: slots.in_use == 10)
    slots.refused()
    assert slots.limit == 7

    for holder in holders[:5]:
        await holder.end()
    await settled(lambda: slots.in_use == 7)

    for _ in range(40):
        slots.answered(0.1)
    await settled(lambda: slots.in_use == 10)
    for holder in holders[5:]:
        await holder.end()


@pytest.mark.parametrize("is_granted", [True, False])
async def test_place_when_its_waiter_is_cancelled_then_it_is_not_lost(*, is_granted: bool) -> None:
    slots = Slots(1)
    first, second, third = (Holder(slots) for _ in range(3))
    await settled(lambda: first.has)

    if is_granted:
        first._end.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    second.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second.task
    await first.end()

    await settled(lambda: third.has)
    await third.end()
    assert slots.in_use == 0
