from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest
from penstock_contracts.events import JobStatus, Position
from penstock_contracts.snapshot import Snapshot
from penstock_contracts.state import JobState
from penstock_kit.jobs.view import StoredEvent
from penstock_kit.streams.assembler import StreamAssembler, Taken
from penstock_kit.streams.joining import JobStreams, Joined
from penstock_kit.tail.hub import EventHub
from penstock_kit.tail.metrics import TailMetrics
from penstock_kit.tail.ring import EventRing
from penstock_kit.tail.tailed import TailedEvent
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.tenancy import TenantScope

from tests.support.events import AT, a_job, an_event
from tests.support.recording import Recording

ACME = TenantScope("acme")
JOB = a_job()


class World:
    """A tail and a recorder that lag as a test wants, and readers that join."""

    def __init__(self, *, ring: int = 100, lag_pauses_s: tuple[float, ...] = ()) -> None:
        metrics = TailMetrics(Metrics())
        self.hub = EventHub(EventRing(max_events=ring, max_bytes=1 << 24), metrics)
        self.table = Recording()
        self.streams = JobStreams(self.hub, self.table, lag_pauses_s=lag_pauses_s)
        self.got: list[TailedEvent | Snapshot] = []

    def live(self, *events: TailedEvent) -> None:
        for event in events:
            self.hub.feed(event)

    def folded(self, *events: TailedEvent) -> None:
        self.table.fold(*events)

    async def join(self, after: str | None = None, *, scope: TenantScope = ACME) -> Joined:
        place = None if after is None else Position.parse(after)
        return await self.streams.join(scope, JOB, place, self.got.append)


def places(events: list[TailedEvent]) -> list[str]:
    return [str(event.position) for event in events]


def a_run(*texts: str) -> list[TailedEvent]:
    """Queued, started, and a delta for each text."""
    deltas = [an_event("delta", f"1-{n}", text=text) for n, text in enumerate(texts, start=2)]
    return [an_event("queued", "0-1"), an_event("started", "1-1"), *deltas]


def text_in(snapshot: Snapshot | None) -> str:
    assert snapshot is not None
    return "".join(delta.text for delta in snapshot.deltas if delta.type == "text")


async def test_join_when_nothing_is_known_yet_then_queued_and_live_events_follow() -> None:
    world = World()

    joined = await world.join()
    world.live(*a_run("Hi"))

    assert joined.recovered
    assert joined.snapshot is not None
    assert (joined.snapshot.status, joined.position) == (JobStatus.QUEUED, Position(0, 0))
    assert [str(item.position) for item in world.got] == ["0-1", "1-1", "1-2"]


async def test_join_when_ring_has_all_then_redis_is_not_asked() -> None:
    world = World()
    world.live(*a_run("Hel", "lo"))
    world.table.is_away = True

    joined = await world.join()

    assert joined.recovered
    assert text_in(joined.snapshot) == "Hello"
    assert joined.position == Position(1, 3)


async def test_join_when_only_redis_has_it_then_snapshot_from_there() -> None:
    world = World()
    world.folded(*a_run("Hel", "lo"))

    joined = await world.join()

    assert joined.recovered
    assert text_in(joined.snapshot) == "Hello"


async def test_join_when_redis_and_ring_overlap_then_each_event_counts_once() -> None:
    world = World(ring=2)
    run = a_run("a", "b", "c", "d")
    world.live(*run)
    world.folded(*run[:-1])

    joined = await world.join()

    assert text_in(joined.snapshot) == "abcd"


async def test_resume_when_ring_has_what_was_missed_then_backlog() -> None:
    world = World()
    world.live(*a_run("a", "b", "c"))

    joined = await world.join("1-2")
    world.live(an_event("delta", "1-5", text="d"))

    assert joined.recovered
    assert joined.snapshot is None
    assert places(joined.backlog) == ["1-3", "1-4"]
    assert [str(item.position) for item in world.got] == ["1-5"]


async def test_join_whole_gives_everything_from_the_begin_as_events() -> None:
    world = World()
    world.live(*a_run("a", "b"))

    joined = await world.streams.join_whole(ACME, JOB, world.got.append)
    world.live(an_event("delta", "1-4", text="c"))

    assert joined.recovered
    assert joined.snapshot is None
    assert places(joined.backlog) == ["0-1", "1-1", "1-2", "1-3"]
    assert [str(item.position) for item in world.got] == ["1-4"]


async def test_join_whole_when_the_oldest_were_merged_then_they_say_how_many_they_stand_for() -> (
    None
):
    world = World(ring=1)
    run = a_run("a", "b", "c")
    world.live(*run)
    world.folded(*run)
    world.table.merge_oldest(JOB, 4)

    joined = await world.streams.join_whole(ACME, JOB, world.got.append)

    assert joined.recovered
    assert places(joined.backlog) == ["0-1", "1-1", "1-3", "1-4"]
    assert orjson.loads(joined.backlog[2].value)["pieces"] == [2]


async def test_join_whole_when_the_begin_is_lost_then_a_snapshot_says_so() -> None:
    world = World(ring=1)
    world.live(*a_run("a", "b", "c"))

    joined = await world.streams.join_whole(ACME, JOB, world.got.append)

    assert not joined.recovered
    assert joined.snapshot is not None


async def test_snapshot_counts_the_pieces_that_it_merged() -> None:
    world = World()
    world.live(*a_run("a", "b", "c"))

    joined = await world.join()

    assert joined.snapshot is not None
    assert (joined.snapshot.pieces, joined.snapshot.had_reset) == ([3], False)


async def test_resume_when_ring_begins_later_then_redis_fills_in() -> None:
    world = World(ring=1)
    run = a_run("a", "b", "c")
    world.live(*run)
    world.folded(*run[:-1])

    joined = await world.join("1-1")

    assert joined.recovered
    assert places(joined.backlog) == ["1-2", "1-3", "1-4"]


async def test_resume_when_recorder_lags_then_read_again_until_it_has_folded() -> None:
    world = World(ring=1, lag_pauses_s=(0.001, 0.001, 0.001))
    run = a_run("a", "b", "c")
    world.live(*run)
    world.folded(*run[:2])
    world.table.fold_at_read(5, *run[2:])

    joined = await world.join("1-1")

    assert joined.recovered
    assert places(joined.backlog) == ["1-2", "1-3", "1-4"]


async def test_resume_when_recorder_does_not_catch_up_then_explicit_loss_without_torn_text() -> (
    None
):
    world = World(ring=1, lag_pauses_s=(0.001,))
    run = a_run("a", "b", "c")
    world.live(*run)

    joined = await world.join("1-1")

    assert not joined.recovered
    assert text_in(joined.snapshot) == ""
    assert joined.position == Position(1, 4)


async def test_resume_when_old_events_were_merged_then_whole_snapshot() -> None:
    world = World()
    world.folded(*a_run("a", "b", "c", "d"))
    world.table.merge_oldest(JOB, 4)

    joined = await world.join("1-2")

    assert not joined.recovered
    assert text_in(joined.snapshot) == "abcd"


async def test_resume_when_position_is_the_newest_then_empty_backlog() -> None:
    world = World()
    world.folded(*a_run("a"))

    joined = await world.join("1-2")

    assert joined.recovered
    assert joined.backlog == []
    assert joined.position == Position(1, 2)


async def test_resume_when_position_never_was_then_not_recovered() -> None:
    world = World(lag_pauses_s=(0.001,))
    world.live(*a_run("a"))

    joined = await world.join("7-300")
    world.live(an_event("delta", "1-3", text="b"))

    assert not joined.recovered
    assert text_in(joined.snapshot) == "a"
    assert [str(item.position) for item in world.got] == ["1-3"]


async def test_resume_when_redis_is_away_and_ring_proves_nothing_then_not_recovered() -> None:
    world = World()
    world.table.is_away = True

    joined = await world.join("1-5")

    assert not joined.recovered


async def test_resume_when_attempt_changed_then_events_of_the_new_one() -> None:
    world = World()
    world.live(*a_run("a"), an_event("started", "2-1"), an_event("reset", "2-2"))

    joined = await world.join("1-2")

    assert places(joined.backlog) == ["2-1", "2-2"]


async def test_join_when_retried_then_snapshot_holds_the_current_attempt_only() -> None:
    world = World()
    world.live(*a_run("wrong"), an_event("started", "2-1"), an_event("reset", "2-2"))
    world.live(an_event("delta", "2-3", text="right"))

    joined = await world.join()

    assert text_in(joined.snapshot) == "right"


@pytest.mark.parametrize("source", ["ring", "redis"])
async def test_join_when_job_has_ended_then_final_result_and_nothing_after(source: str) -> None:
    world = World()
    run = [*a_run("Hel", "lo"), an_event("completed", "1-4", text="Hello")]
    if source == "ring":
        world.live(*run)
    else:
        world.folded(*run)

    joined = await world.join()
    world.live(an_event("completed", "2-1", text="superseded"))

    assert joined.recovered
    assert joined.snapshot is not None
    assert joined.snapshot.status is JobStatus.COMPLETED
    assert joined.snapshot.output is not None
    assert (joined.snapshot.at, joined.snapshot.model) == (AT, "small")
    assert joined.snapshot.provider == "local"
    assert world.got == []
    assert world.streams.open_streams == 0


@pytest.mark.parametrize("source", ["ring", "redis"])
async def test_resume_when_reader_has_seen_the_end_then_nothing_more(source: str) -> None:
    world = World()
    run = [*a_run("Hi"), an_event("completed", "1-3", text="Hi")]
    if source == "ring":
        world.live(*run)
    else:
        world.folded(*run)

    joined = await world.join("1-3")

    assert joined.recovered
    assert joined.backlog == []
    assert world.streams.open_streams == 0


async def test_resume_when_a_zombie_ended_behind_the_fence_then_its_end_does_not_count() -> None:
    world = World()
    world.folded(*a_run("a"), an_event("started", "2-1"), an_event("delta", "2-2", text="b"))
    world.folded(an_event("completed", "1-3", text="a"))

    joined = await world.join("2-2")
    world.live(an_event("completed", "1-3", text="a"), an_event("delta", "2-3", text="b"))
    world.live(an_event("completed", "2-4", text="b"))

    assert joined.backlog == []
    assert [item.position for item in world.got] == [(2, 3), (2, 4)]


async def test_resume_when_the_ring_has_only_a_zombies_end_then_the_table_knows_better() -> None:
    """A reader that was cut off at the first attempt comes to a gateway that has just started."""
    world = World()
    world.folded(*a_run("a"), an_event("started", "2-1"))
    world.live(an_event("completed", "1-3", text="a"))

    joined = await world.join("1-2")

    assert [str(event.position) for event in joined.backlog] == ["2-1"]
    assert not joined.is_over


async def test_live_when_terminal_came_then_stream_is_over() -> None:
    world = World()
    await world.join()

    world.live(*a_run("a"), an_event("failed", "1-3"), an_event("started", "2-1"))

    assert [str(item.position) for item in world.got] == ["0-1", "1-1", "1-2", "1-3"]
    assert world.streams.open_streams == 0
    assert world.hub.subscriptions == 0


async def test_live_when_events_were_lost_then_mended_from_redis() -> None:
    world = World()
    run = a_run("a", "b", "c", "d")
    await world.join()
    world.live(*run[:3])
    world.folded(*run)

    world.live(run[5])
    await settled(lambda: len(world.got) == 6)

    assert [str(item.position) for item in world.got] == ["0-1", "1-1", "1-2", "1-3", "1-4", "1-5"]


async def test_live_when_lost_events_are_gone_then_snapshot_says_so() -> None:
    world = World()
    run = a_run("a", "b", "c", "d")
    await world.join()
    world.live(*run[:3])
    world.table.is_away = True

    world.live(run[5])
    await settled(lambda: len(world.got) == 4)
    world.live(an_event("delta", "1-6", text="e"))

    lost = world.got[3]
    assert isinstance(lost, Snapshot)
    assert (lost.position, lost.deltas) == (Position(1, 5), [])
    assert str(world.got[4].position) == "1-6"


async def test_live_when_mending_fails_unexpectedly_then_reader_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    run = a_run("a", "b", "c")
    await world.join()
    world.live(*run[:2])

    async def broken(*_: object) -> JobState | None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.table, "get", broken)
    world.live(run[4])
    await settled(lambda: len(world.got) == 3)

    assert isinstance(world.got[2], Snapshot)


async def test_live_when_sink_closes_then_nothing_more() -> None:
    world = World()
    joined = await world.join()
    world.live(*a_run("a"))

    joined.close()
    joined.close()
    world.live(an_event("delta", "1-3", text="b"))

    assert len(world.got) == 3


async def test_join_when_events_come_while_reading_then_none_is_lost_or_doubled() -> None:
    world = World()
    run = a_run(*"abcdef")
    world.folded(*run[:4])
    world.table.on_read = lambda: world.live(*run[2:6])

    joined = await world.join("1-1")
    world.live(*run[4:])

    got = [*places(joined.backlog), *(str(item.position) for item in world.got)]
    assert got == ["1-2", "1-3", "1-4", "1-5", "1-6", "1-7"]


async def test_join_when_scope_is_foreign_then_nothing_is_seen() -> None:
    world = World()
    world.live(*a_run("secret"))
    world.folded(*a_run("secret"))

    for scope in (TenantScope("evil"), TenantScope("acme", "bob")):
        joined = await world.join(scope=scope)
        world.live(an_event("delta", "1-3", text="more"))

        assert joined.snapshot is not None
        assert joined.snapshot.status is JobStatus.QUEUED
        assert joined.backlog == []
    assert world.got == []


async def test_stop_when_streams_are_open_then_they_end() -> None:
    world = World()
    await world.join()

    await world.streams.stop()
    world.live(*a_run("a"))

    assert world.got == []
    assert world.hub.subscriptions == 0


async def test_join_when_kept_value_is_broken_then_error_and_no_leak() -> None:
    world = World()
    broken = replace(an_event("delta", "1-2"), value=b"{broken}")
    world.live(an_event("started", "1-1"), broken)

    joined = await world.join()

    assert not joined.recovered
    assert text_in(joined.snapshot) == ""


async def settled(fact: object) -> None:
    assert callable(fact)
    async with asyncio.timeout(5):
        while not fact():  # noqa: ASYNC110 - the fact has no event of its own
            await asyncio.sleep(0.001)


def assembled(joined: Joined, live: list[TailedEvent | Snapshot]) -> StreamAssembler:
    reader = StreamAssembler()
    if joined.snapshot is not None:
        reader.apply_snapshot(joined.snapshot.model_dump(mode="json"))
    for item in [*joined.backlog, *live]:
        if isinstance(item, Snapshot):
            reader.apply_snapshot(item.model_dump(mode="json"))
        else:
            assert reader.apply_event(orjson.loads(item.value)) is Taken.APPLIED
    return reader


async def test_text_when_joined_in_the_middle_then_whole() -> None:
    world = World()
    run = [*a_run(*"Hello you"), an_event("completed", "1-11", text="Hello you")]
    world.live(*run[:5])

    joined = await world.join()
    world.live(*run[5:])

    assert assembled(joined, world.got).text() == "Hello you"


def test_stored_event_when_merged_then_knows_its_first_place() -> None:
    assert StoredEvent(Position(1, 3), "delta", b"{}", first=Position(1, 2)).first == (1, 2)
