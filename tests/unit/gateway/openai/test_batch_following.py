"""Streams of a batch's events end with the batch, whatever of its events is left."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from gateway.openai.batches.following import BatchFollower
from penstock_contracts.batches import BatchEventAdapter
from penstock_contracts.credentials import Scope
from penstock_kit.auth.principal import AuthError, Principal
from penstock_kit.batches.events import KeptEvent
from penstock_kit.batches.memory import MemoryBatchEvents, MemoryShelf
from penstock_kit.tenancy import TenantScope

from tests.support.batches import BatchBench, chat_line
from tests.support.clock import HandClock
from tests.support.gateway import Reply, make_bench

LATER = timedelta(minutes=1)


async def ended_batch(batches: BatchBench) -> str:
    """A batch of one line that is over; its events are 0 to 3."""
    batch = await batches.batch(chat_line("a"))
    async with batches.worker():
        await batches.run()
    return batch


async def fold(batches: BatchBench, *, until: int) -> None:
    """Let the recorder read the events below a number."""
    events = batches.gateway.stores.events
    assert isinstance(events, MemoryBatchEvents)
    for event in batches.events()[:until]:
        value = BatchEventAdapter.dump_json(event)
        kept = KeptEvent(event.sequence_number, event.type, value)
        await events.keep([(TenantScope("acme"), event.batch, kept)])


async def followed(batches: BatchBench, batch: str, query: str = "") -> Reply:
    async with asyncio.timeout(10):
        return await batches.gateway.call("GET", f"/v1/batches/{batch}/events{query}")


def told(reply: Reply) -> list[tuple[int, str, Any]]:
    found = []
    for frame in reply.body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in frame.splitlines() if line[:1] != ":")
        if fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


async def test_stream_when_its_reader_has_the_last_event_then_it_ends_without_another() -> None:
    batches = BatchBench(await make_bench())
    batch = await ended_batch(batches)
    await batches.fold_events()

    reply = await followed(batches, batch, "?starting_after=3")

    assert told(reply) == []


@pytest.mark.parametrize(
    ("kept", "after", "number"), [(4, 999, 1000), (0, -1, 0), (3, 2, 3), (3, 0, 3)]
)
async def test_stream_when_the_last_event_is_not_beyond_its_reader_then_it_is_made_up(
    kept: int, after: int, number: int
) -> None:
    """A number that never was, a batch beyond the retention, a gateway killed before its event."""
    batches = BatchBench(await make_bench())
    batch = await ended_batch(batches)
    await fold(batches, until=kept)
    batches.gateway.clock.advance(LATER)

    reply = await followed(batches, batch, "" if after < 0 else f"?starting_after={after}")

    state = await batches.look(batch)
    *others, last = told(reply)
    value = last[2]
    assert last[:2] == (number, "batch.completed")
    assert value["output_file_id"] == state["output_file_id"]
    assert value["counts"] == {"total": 1, "completed": 1, "failed": 0}
    assert [entry[0] for entry in others] == list(range(after + 1, kept))


async def test_stream_when_its_end_is_fresh_then_late_events_are_waited_for() -> None:
    batches = BatchBench(await make_bench())
    batch = await ended_batch(batches)
    await fold(batches, until=2)

    following = asyncio.create_task(followed(batches, batch))
    for _ in range(100):
        await asyncio.sleep(0)
    await batches.fold_events()

    assert [number for number, _, _ in told(await following)] == [0, 1, 2, 3]


async def test_stream_when_its_key_is_revoked_then_it_ends_though_events_keep_coming() -> None:
    """A busy batch has events for hours, and a stream without silence needs no heartbeat."""
    frames: list[bytes] = []
    revoked = AuthError("the key was revoked", code="revoked_api_key")
    events = MemoryBatchEvents()
    scope, batch = TenantScope("acme"), "batch_" + "0" * 42
    follower = BatchFollower(
        events,
        batches=MemoryShelf(),
        clock=HandClock(),
        lapse_of=lambda _: None if len(frames) < 3 else revoked,
        heartbeat=timedelta(milliseconds=20),
    )
    caller = Principal(tenant="acme", user="ann", level=Scope.USER, credential="k")

    async with asyncio.timeout(10):
        async for frame in follower.frames(caller, batch, after=-1):
            kept = KeptEvent(len(frames), "batch.line.completed", b"{}")
            await events.keep([(scope, batch, kept)])
            await asyncio.sleep(0)
            frames.append(frame)

    assert len(frames) > 3
    assert frames[-1] == b": revoked_api_key, come again with Last-Event-ID\n\n"


async def test_stream_when_events_are_away_then_no_end_is_made_up() -> None:
    batches = BatchBench(await make_bench())
    batch = await ended_batch(batches)
    await batches.fold_events()
    batches.gateway.clock.advance(LATER)
    events = batches.gateway.stores.events
    assert isinstance(events, MemoryBatchEvents)
    events.is_away = True

    following = asyncio.create_task(followed(batches, batch))
    for _ in range(100):
        await asyncio.sleep(0)
    events.is_away = False

    assert [number for number, _, _ in told(await following)] == [0, 1, 2, 3]
