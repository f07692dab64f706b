from __future__ import annotations

import asyncio
from contextlib import suppress

from penstock_kit.ending import end_tasks


async def test_task_that_swallows_a_cancel_is_ended_by_the_next() -> None:
    swallowed = asyncio.Event()

    async def loop() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        swallowed.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)

    await end_tasks(task)

    assert swallowed.is_set()
    assert task.cancelled()


async def test_no_tasks_and_ended_tasks_are_nothing_to_wait_for() -> None:
    over = asyncio.create_task(asyncio.sleep(0))
    await over

    await end_tasks()
    await end_tasks(over)

    assert not over.cancelled()
