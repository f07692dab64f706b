from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from penstock_contracts.envelope import decode_event
from penstock_contracts.events import Completed, DeltaEvent, JobEvent, JobEventAdapter, Position
from penstock_contracts.parts import ChatOutput, Choice, JobError, TextDelta, Usage
from penstock_contracts.replies import ReplyAddress
from penstock_contracts.topics import EVENTS
from penstock_kit.blobs.store import BlobStore
from penstock_kit.errors import Retryable
from penstock_kit.jobs.emitter import JobEmitter
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import DeliveryUnknown, OutRecord, ProducerFull
from penstock_kit.settings import BlobSettings
from penstock_kit.tenancy import TenantScope

from tests.support.clock import HandClock

JOB = "job_" + "a" * 42
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
ERROR = JobError(type="server_error", code="boom", message="It broke; try again.")


class Fixture:
    """An emitter on an in-memory broker, and what it wrote."""

    def __init__(
        self,
        folder: Path,
        *,
        inline_limit: int = 1000,
        surface: str | None = None,
        reply: ReplyAddress | None = None,
    ) -> None:
        self.kafka = MemoryKafka([EVENTS], partitions=2)
        self.producer = self.kafka.producer()
        self.blobs = BlobStore(BlobSettings(url=folder.as_uri(), inline_limit_bytes=inline_limit))
        self.clock = HandClock(NOW)
        self.emitter = JobEmitter(
            producer=self.producer,
            blobs=self.blobs,
            clock=self.clock,
            job=JOB,
            tenant="acme",
            user="ann",
            attempt=2,
            source="/penstock/llm-worker/w1",
            surface=surface,
            reply=reply,
        )

    def events(self) -> list[JobEvent]:
        records = self.kafka.records(EVENTS.name)
        assert len({record.partition for record in records}) <= 1
        found = []
        for record in records:
            envelope, data = decode_event(record.headers, record.value)
            event = JobEventAdapter.validate_json(data)
            assert (envelope.attempt, envelope.seq) == event.position
            assert (envelope.subject, envelope.tenant, envelope.user) == (JOB, "acme", "ann")
            assert record.key == JOB.encode()
            found.append(event)
        return found

    def refuse_next(self, count: int) -> None:
        """Let the producer be full for so many writes."""
        left = iter(range(count))
        self.kafka.faults.on_send = lambda _record: (
            None if next(left, None) is None else ProducerFull("full; wait")
        )

    def types(self) -> list[str]:
        return [event.type for event in self.events()]


@pytest.fixture
async def fix(tmp_path: Path) -> Fixture:
    fixture = Fixture(tmp_path)
    await fixture.producer.start()
    return fixture


def chat(text: str) -> ChatOutput:
    return ChatOutput(choices=[Choice(index=0, text=text, finish_reason="stop")])


async def test_events_of_an_attempt_are_ordered_without_gaps(fix: Fixture) -> None:
    emitter = fix.emitter
    await emitter.started(task="chat", worker="w1", model="m", until=NOW)
    await emitter.reset("retry")
    emitter.delta([TextDelta(text="a")])
    emitter.delta([TextDelta(text="b"), TextDelta(text="c", choice=1)])
    await emitter.completed(chat("ab"), usage=Usage(input_tokens=1), model="m", provider="p")

    assert fix.types() == ["started", "reset", "delta", "delta", "completed"]
    assert [event.position for event in fix.events()] == [(2, seq) for seq in range(1, 6)]
    assert emitter.position == Position(2, 5)
    assert emitter.is_over
    assert emitter.has_output


async def test_nothing_follows_a_terminal_event(fix: Fixture) -> None:
    await fix.emitter.cancelled(by="ann", was_running=False)

    with pytest.raises(AssertionError):
        await fix.emitter.failed(ERROR)
    with pytest.raises(AssertionError):
        fix.emitter.delta([TextDelta(text="late")])
    assert fix.types() == ["cancelled"]


async def test_every_other_ending_is_written(tmp_path: Path) -> None:
    endings: dict[str, Callable[[JobEmitter], Awaitable[None]]] = {
        "failed": lambda emitter: emitter.failed(ERROR),
        "expired": lambda emitter: emitter.expired(NOW),
        "unknown_outcome": lambda emitter: emitter.unknown_outcome(ERROR),
        "retrying": lambda emitter: emitter.retrying(ERROR, delay_s=1.5, next_attempt=3),
    }
    for name, end in endings.items():
        fix = Fixture(tmp_path)
        await fix.producer.start()

        await end(fix.emitter)

        assert fix.types() == [name]
        assert fix.emitter.is_over


async def test_deltas_held_while_the_producer_is_full_join_the_next_one(fix: Fixture) -> None:
    fix.refuse_next(2)
    for text in "abcd":
        fix.emitter.delta([TextDelta(text=text)])
    await fix.emitter.failed(ERROR)

    deltas = [event for event in fix.events() if isinstance(event, DeltaEvent)]
    assert [event.deltas for event in deltas] == [[TextDelta(text="abc")], [TextDelta(text="d")]]
    assert [event.seq for event in fix.events()] == [1, 2, 3]


async def test_held_deltas_are_written_before_the_end(fix: Fixture) -> None:
    fix.refuse_next(2)
    fix.emitter.delta([TextDelta(text="a")])
    fix.emitter.delta([TextDelta(text="b")])
    await fix.emitter.completed(chat("ab"), usage=Usage())

    assert fix.types() == ["delta", "completed"]
    assert [event.seq for event in fix.events()] == [1, 2]


async def test_lifecycle_event_waits_while_the_producer_is_full(fix: Fixture) -> None:
    fix.refuse_next(2)

    await fix.emitter.started(task="chat", worker="w1")

    assert fix.types() == ["started"]


async def test_unacknowledged_event_is_emitted_again_at_the_same_place(fix: Fixture) -> None:
    fix.kafka.faults.lose_acks = True
    with pytest.raises(DeliveryUnknown):
        await fix.emitter.started(task="chat", worker="w1")
    fix.kafka.faults.lose_acks = False

    await fix.emitter.started(task="chat", worker="w1")

    assert [event.position for event in fix.events()] == [(2, 1), (2, 1)]


class LostWrites:
    """A broker that lets the first so many delta writes get lost."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self, record: OutRecord) -> DeliveryUnknown | None:
        if b'"delta"' not in (record.value or b"") or not self.left:
            return None
        self.left -= 1
        return DeliveryUnknown("no ack")


async def test_lost_deltas_are_written_again_before_the_end_in_their_order(fix: Fixture) -> None:
    fix.kafka.faults.on_send = LostWrites(2)
    fix.emitter.delta([TextDelta(text="a")])
    fix.emitter.delta([TextDelta(text="b")])
    await asyncio.sleep(0)
    fix.kafka.faults.on_send = None
    await fix.emitter.completed(chat("ab"), usage=Usage())

    assert fix.emitter.lost_writes == 2
    assert fix.types() == ["delta", "delta", "completed"]
    assert [event.position.seq for event in fix.events()] == [1, 2, 3]


async def test_delta_after_a_lost_one_is_sent_behind_it(fix: Fixture) -> None:
    fix.kafka.faults.on_send = LostWrites(1)
    fix.emitter.delta([TextDelta(text="a")])
    await asyncio.sleep(0)
    fix.emitter.delta([TextDelta(text="b")])

    assert [event.position.seq for event in fix.events()] == [1, 2]


async def test_end_when_a_delta_is_long_unacknowledged_then_waits_for_it(tmp_path: Path) -> None:
    fix = Fixture(tmp_path)
    await fix.producer.start()
    fix.kafka.faults.hold_acks = True
    fix.emitter.delta([TextDelta(text="a")])
    fix.clock.advance(timedelta(milliseconds=100))
    ending = asyncio.create_task(fix.emitter.completed(chat("a"), usage=Usage()))
    await asyncio.sleep(0)
    assert fix.types() == ["delta"]

    fix.kafka.release_acks()
    await ending

    assert fix.types() == ["delta", "completed"]


async def test_large_output_travels_by_claim_check(fix: Fixture) -> None:
    await fix.emitter.completed(chat("x" * 2000), usage=Usage())

    (event,) = fix.events()
    assert isinstance(event, Completed)
    assert event.output is None
    assert event.output_ref is not None
    raw = await fix.blobs.get(TenantScope("acme"), event.output_ref)
    assert ChatOutput.model_validate_json(raw) == chat("x" * 2000)


async def test_blob_store_that_is_away_leaves_the_attempt_open(tmp_path: Path) -> None:
    fix = Fixture(tmp_path / "blobs")
    await fix.producer.start()
    os.rmdir(tmp_path / "blobs")  # noqa: PTH106 - pathlib's way is refused in async code
    os.symlink("/dev/null", tmp_path / "blobs")  # noqa: PTH211 - the same

    with pytest.raises(Retryable):
        await fix.emitter.completed(chat("x" * 2000), usage=Usage())
    await fix.emitter.completed(chat("small"), usage=Usage())

    assert fix.types() == ["completed"]
    assert fix.events()[0].seq == 1


async def test_reset_drops_what_was_held(fix: Fixture) -> None:
    fix.refuse_next(1)
    fix.emitter.delta([TextDelta(text="void")])
    await fix.emitter.reset("fallback")
    await fix.emitter.failed(ERROR)

    assert fix.types() == ["reset", "failed"]
    assert not fix.emitter.has_output


async def test_lifecycle_events_of_a_job_with_a_surface_say_so_in_headers_and_deltas_do_not(
    tmp_path: Path,
) -> None:
    fix = Fixture(tmp_path, surface="response")
    await fix.producer.start()

    await fix.emitter.started(task="chat", worker="w1")
    fix.emitter.delta([TextDelta(text="a")])
    cut = ChatOutput(choices=[Choice(index=0, text="a", finish_reason="length")])
    await fix.emitter.completed(cut, usage=Usage())

    seen = [
        (named.get("ce_surface"), named.get("ce_finish"))
        for named in (dict(record.headers) for record in fix.kafka.records(EVENTS.name))
    ]
    assert seen == [(b"response", None), (None, None), (b"response", b"length")]


async def test_events_of_a_job_without_a_surface_carry_no_header_for_it(fix: Fixture) -> None:
    await fix.emitter.completed(chat("a"), usage=Usage())

    (record,) = fix.kafka.records(EVENTS.name)
    assert not {"ce_surface", "ce_finish"} & dict(record.headers).keys()


async def test_reply_address_is_told_with_the_end_alone(tmp_path: Path) -> None:
    reply = ReplyAddress("ai.replies.billing.acme", "call-7")
    fix = Fixture(tmp_path, reply=reply)
    await fix.producer.start()
    await fix.emitter.started(task="chat", worker="w1", model="m", until=NOW)
    fix.emitter.delta([TextDelta(text="a")])
    await fix.emitter.completed(chat("a"), usage=Usage())

    records = fix.kafka.records(EVENTS.name)
    replies = [decode_event(record.headers, record.value)[0].reply for record in records]
    assert replies == [None, None, reply]
