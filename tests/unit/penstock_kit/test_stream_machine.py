"""Readers of one job under everything that can go wrong between worker and reader."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from penstock_contracts.events import TERMINAL, Position
from penstock_contracts.snapshot import Snapshot
from penstock_kit.streams.assembler import StreamAssembler, Taken
from penstock_kit.streams.joining import JobStreams, Joined
from penstock_kit.tail.hub import EventHub
from penstock_kit.tail.metrics import TailMetrics
from penstock_kit.tail.ring import EventRing
from penstock_kit.tail.tailed import TailedEvent
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.tenancy import TenantScope

from tests.support.events import a_job, an_event, text_of
from tests.support.recording import Recording

ACME = TenantScope("acme")
EXAMPLES = int(os.environ.get("PENSTOCK_EXAMPLES", "80"))
"""Small where everybody waits for it, large at night."""
JOB = a_job()


class Truth:
    """The log of one job as its workers write it."""

    def __init__(self) -> None:
        self.events: list[TailedEvent] = [an_event("queued", "0-1")]
        self.attempt = 0
        self.seq = 1
        self.had_output = False
        self.zombies: dict[int, int] = {}

    @property
    def ending(self) -> TailedEvent | None:
        """The first end that no later attempt had begun before."""
        newest = 0
        for event in self.events:
            if event.is_terminal and event.position.attempt >= newest:
                return event
            newest = max(newest, event.position.attempt)
        return None

    def write(self, kind: str, *, text: str = "", attempt: int | None = None) -> None:
        if attempt is None:
            self.seq += 1
            place = f"{self.attempt}-{self.seq}"
        else:
            self.zombies[attempt] += 1
            place = f"{attempt}-{self.zombies[attempt]}"
        self.had_output = self.had_output or kind == "delta"
        self.events.append(an_event(kind, place, text=text))

    def start_attempt(self) -> None:
        if self.attempt:
            self.zombies[self.attempt] = self.seq
        self.attempt += 1
        self.seq = 0
        self.write("started")
        if self.had_output:
            self.write("reset")

    def text_at(self, place: Position) -> str:
        return "".join(
            piece["text"]
            for event in self.events
            if event.type == "delta"
            and event.position.attempt == place.attempt
            and event.position <= place
            for piece in orjson.loads(event.value)["deltas"]
        )


class Reader:
    """A client: it is cut off and comes back with its position."""

    def __init__(self) -> None:
        self.state = StreamAssembler()
        self.joined: Joined | None = None
        self.lost_in: int | None = None
        self.faults: list[str] = []
        """What a sink raises stays in the tail's log, so faults are kept here."""

    def take(self, item: TailedEvent | Snapshot) -> None:
        if isinstance(item, Snapshot):
            self.state.apply_snapshot(item.model_dump(mode="json"))
            self.lost_in = None if item.deltas else item.attempt
        else:
            taken = self.state.apply_event(orjson.loads(item.value))
            if taken is not Taken.APPLIED:
                self.faults.append(f"{taken.name} {item.position} at {self.state.position}")

    def start(self, joined: Joined) -> None:
        self.joined = joined
        if joined.snapshot is not None:
            self.take(joined.snapshot)
        for event in joined.backlog:
            self.take(event)


class Streams(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.truth = Truth()
        self.tailed = self.recorded = 0
        self.recorder = Recording()
        self.readers: list[Reader] = []

    @initialize(ring=st.integers(1, 12))
    def begin(self, ring: int) -> None:
        self.hub = EventHub(EventRing(max_events=ring, max_bytes=1 << 24), TailMetrics(Metrics()))
        self.streams = JobStreams(self.hub, self.recorder, lag_pauses_s=())

    def run(self, act: Callable[[], object] | None = None) -> None:
        async def turn() -> None:
            if act is not None:
                act()
            for _ in range(30):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turn())

    @rule(text=st.text(alphabet="abc é", min_size=1, max_size=3))
    @precondition(lambda self: self.truth.attempt > 0)
    def worker_streams(self, text: str) -> None:
        self.truth.write("delta", text=text)

    @rule()
    def worker_takes_the_job(self) -> None:
        if self.truth.attempt < 4:
            self.truth.start_attempt()

    @rule()
    @precondition(lambda self: self.truth.attempt > 0)
    def worker_retries(self) -> None:
        self.truth.write("retrying")
        self.truth.start_attempt()

    @rule(kind=st.sampled_from(sorted(TERMINAL)))
    @precondition(lambda self: self.truth.attempt > 0 and len(self.truth.events) > 6)
    def worker_ends_it(self, kind: str) -> None:
        here = Position(self.truth.attempt, self.truth.seq)
        self.truth.write(kind, text=self.truth.text_at(here))

    @rule(data=st.data(), kind=st.sampled_from(["delta", "completed"]))
    @precondition(lambda self: bool(self.truth.zombies))
    def zombie_writes(self, data: st.DataObject, kind: str) -> None:
        attempt = data.draw(st.sampled_from(sorted(self.truth.zombies)))
        here = Position(attempt, self.truth.zombies[attempt])
        self.truth.write(kind, text=self.truth.text_at(here) or "z", attempt=attempt)

    @rule(count=st.integers(1, 8))
    def tail_reads(self, count: int) -> None:
        for event in self.truth.events[self.tailed : self.tailed + count]:
            self.run(lambda event=event: self.hub.feed(event))  # type: ignore[misc]
        self.tailed = min(self.tailed + count, len(self.truth.events))

    @rule(count=st.integers(1, 3))
    @precondition(lambda self: self.truth.ending is None)
    def tail_loses(self, count: int) -> None:
        """All but a start: a tail reads its partitions in order and without holes."""
        while count and self.tailed < len(self.truth.events):
            if self.truth.events[self.tailed].type == "started":
                return
            self.tailed += 1
            count -= 1

    @rule(data=st.data())
    def tail_reads_again(self, data: st.DataObject) -> None:
        if self.tailed:
            event = self.truth.events[data.draw(st.integers(0, self.tailed - 1))]
            # What was lost and comes later would be news; a repetition is what was read before.
            if event in self.hub.recent(ACME, JOB):
                self.run(lambda: self.hub.feed(event))

    @rule(count=st.integers(1, 8))
    def recorder_folds(self, count: int) -> None:
        self.recorder.fold(*self.truth.events[self.recorded : self.recorded + count])
        self.recorded = min(self.recorded + count, len(self.truth.events))

    @rule(count=st.integers(0, 5))
    def recorder_merges_old_events(self, count: int) -> None:
        self.recorder.merge_oldest(JOB, count)

    @rule(is_away=st.booleans())
    def redis_goes_or_comes(self, is_away: bool) -> None:
        self.recorder.is_away = is_away

    @rule()
    def reader_comes(self) -> None:
        if len(self.readers) < 4:
            reader = Reader()
            self.readers.append(reader)
            self.join(reader, None)

    @rule(data=st.data())
    @precondition(lambda self: bool(self.readers))
    def reader_is_cut_and_resumes(self, data: st.DataObject) -> None:
        reader = self.readers[data.draw(st.integers(0, len(self.readers) - 1))]
        self.cut(reader)
        for event in self.truth.events[self.tailed :][: data.draw(st.integers(0, 4))]:
            self.run(lambda event=event: self.hub.feed(event))  # type: ignore[misc]
            self.tailed += 1
        self.join(reader, reader.state.position)

    def cut(self, reader: Reader) -> None:
        assert reader.joined is not None
        reader.joined.close()
        self.run()

    def join(self, reader: Reader, after: Position | None) -> None:
        if reader.state.is_over:
            return

        async def joining() -> None:
            reader.start(await self.streams.join(ACME, JOB, after, reader.take))

        self.loop.run_until_complete(joining())
        self.run()

    @invariant()
    def text_is_true_and_never_torn(self) -> None:
        for reader in self.readers:
            self.check(reader)

    def check(self, reader: Reader) -> None:
        assert reader.faults == []
        place = reader.state.position
        if place is None or reader.state.is_over:
            return
        true = self.truth.text_at(place)
        if reader.lost_in == place.attempt:
            assert true.endswith(reader.state.text())
        else:
            assert reader.state.text() == true

    def teardown(self) -> None:
        if hasattr(self, "streams"):
            self.finish()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def finish(self) -> None:
        """Everything comes back; then every reader has the end, and what it read is the result."""
        if self.truth.ending is None:
            if not self.truth.attempt:
                self.truth.start_attempt()
            here = Position(self.truth.attempt, self.truth.seq)
            self.truth.write("completed", text=self.truth.text_at(here))
        self.recorder.is_away = False
        self.recorder.fold(*self.truth.events[self.recorded :])
        self.recorded = len(self.truth.events)
        self.tail_reads(len(self.truth.events))
        ending = self.truth.ending
        assert ending is not None
        for reader in self.readers:
            self.check(reader)
            assert reader.state.status is not None
            assert reader.state.status.value == ending.type
            if ending.type == "completed":
                assert text_of(reader.state.output or {}) == text_of(
                    orjson.loads(ending.value)["output"]
                )
        assert self.streams.open_streams == 0
        assert self.hub.subscriptions == 0


def test_readers_when_anything_goes_wrong_then_text_is_never_torn_and_ends_as_the_job() -> None:
    run_state_machine_as_test(
        Streams,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


def test_text_when_stream_is_cut_at_random_places_then_whole() -> None:
    chance = random.Random(7)
    for _ in range(50):
        asyncio.run(one_run_with_cuts(chance))


async def one_run_with_cuts(chance: random.Random) -> None:
    truth = Truth()
    truth.start_attempt()
    for number in range(chance.randint(0, 40)):
        if chance.random() < 0.05:
            truth.write("retrying")
            truth.start_attempt()
        truth.write("delta", text=f"{number} ")
    whole = truth.text_at(Position(truth.attempt, truth.seq))
    truth.write("completed", text=whole)
    hub = EventHub(EventRing(max_events=10, max_bytes=1 << 24), TailMetrics(Metrics()))
    recorder = Recording()
    streams = JobStreams(hub, recorder, lag_pauses_s=())
    reader = Reader()
    reader.start(await streams.join(ACME, JOB, None, reader.take))
    for event in truth.events:
        recorder.fold(event)
        hub.feed(event)
        if chance.random() < 0.3 and not reader.state.is_over:
            assert reader.joined is not None
            reader.joined.close()
            reader.start(await streams.join(ACME, JOB, reader.state.position, reader.take))
            assert reader.joined.recovered
    assert reader.faults == []
    assert reader.state.is_over
    assert reader.state.text() == whole
