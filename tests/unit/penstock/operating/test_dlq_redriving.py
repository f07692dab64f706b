from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import orjson
from penstock.operating.dlq.editing import Edit
from penstock.operating.dlq.letters import Letter, LetterFilter
from penstock.operating.dlq.redriving import Dropping, Outcome, Redriving, Report, rehearse
from penstock.operating.dlq.replacing import Replacing
from penstock_contracts.dead import ResolutionKind, read_resolution
from penstock_contracts.topics import DEAD
from penstock_kit.clock import SystemClock
from penstock_kit.kafka.admin import TopicsUnavailable
from penstock_kit.kafka.ports import DeliveryUnknown, OutRecord, ProducerFull, RecordRefused
from penstock_kit.tasks import TaskCatalog

from tests.support.dead_letters import MALFORMED, Box

REQUESTS = "ai.chat.requests.v1"


def _replacing() -> Replacing:
    return Replacing(tasks=TaskCatalog.builtin(), clock=SystemClock(), edit=Edit())


async def _each(letters: Iterable[Letter]) -> AsyncIterator[Letter]:
    for letter in letters:
        yield letter


async def _until_broker_goes(letters: Iterable[Letter]) -> AsyncIterator[Letter]:
    for letter in letters:
        yield letter
    raise TopicsUnavailable("ai.dead.v1 cannot be read")


async def _redrive(
    box: Box, letters: AsyncIterator[Letter] | None = None, *, rate: float | None = None
) -> tuple[Report, list[Outcome]]:
    told: list[Outcome] = []
    redriving = Redriving(
        producer=box.producer,
        replacing=_replacing(),
        clock=SystemClock(),
        by="ann",
        rate=rate,
        tell=told.append,
    )
    return await redriving.run(_letters(box) if letters is None else letters), told


async def _letters(box: Box) -> AsyncIterator[Letter]:
    survey = await box.box.survey()
    async for letter in box.box.letters(survey, LetterFilter()):
        yield letter


def _jobs(box: Box) -> list[str | None]:
    records = box.kafka.records(REQUESTS)
    return [dict(record.headers)["ce_subject"].decode() for record in records]


async def test_run_writes_each_job_once_and_then_notes_it_beside_its_letter() -> None:
    box = Box()
    places = [await box.put() for _ in range(5)]

    report, told = await _redrive(box)

    assert (report.done, report.trouble, len(told)) == (5, None, 5)
    assert len(_jobs(box)) == len(set(_jobs(box))) == 5
    for place in places:
        letter, resolution = await box.box.find(place)
        assert resolution is not None
        assert resolution.kind is ResolutionKind.REDRIVEN
        assert resolution.job in _jobs(box)
        assert resolution.to.startswith(f"{REQUESTS}/")
        noted = [r for r in box.kafka.records(DEAD.name) if read_resolution(r.headers)]
        assert letter.record.key in {record.key for record in noted}


async def test_run_again_when_all_is_redriven_then_nothing_is_written() -> None:
    box = Box()
    await box.put()
    await _redrive(box)

    report, _ = await _redrive(box)

    assert (report.done, len(_jobs(box))) == (0, 1)


async def test_run_when_the_note_is_lost_then_the_next_run_writes_the_same_job_again() -> None:
    """What a kill between the two writes leaves: the same id, which the ledger runs once."""
    box = Box()
    await box.put()

    def lose_notes(record: OutRecord) -> Exception | None:
        return DeliveryUnknown("no ack") if record.topic == DEAD.name else None

    box.kafka.faults.on_send = lose_notes
    report, told = await _redrive(box)
    assert (report.done, told) == (0, [])
    assert isinstance(report.trouble, DeliveryUnknown)
    box.kafka.faults.on_send = None

    await _redrive(box)

    assert len(_jobs(box)) == 2
    assert len(set(_jobs(box))) == 1


async def test_run_when_the_job_is_not_acknowledged_then_no_note_says_it_was() -> None:
    box = Box()
    place = await box.put()
    box.kafka.faults.on_send = lambda record: (
        DeliveryUnknown("no ack") if record.topic == REQUESTS else None
    )

    report, _ = await _redrive(box)

    assert report.trouble is not None
    assert (await box.letter(place)).resolved is None


async def test_run_when_the_broker_is_in_trouble_then_it_stops_early() -> None:
    box = Box()
    for _ in range(500):
        await box.put()
    tried: list[OutRecord] = []

    def refuse(record: OutRecord) -> Exception | None:
        tried.append(record)
        return DeliveryUnknown("no ack")

    box.kafka.faults.on_send = refuse
    report, _ = await _redrive(box)

    assert report.trouble is not None
    assert len(tried) <= 64


async def test_run_when_letters_cannot_be_read_to_the_end_then_it_reports_what_was_done() -> None:
    box = Box()
    for _ in range(5):
        await box.put()

    report, _ = await _redrive(box, _until_broker_goes((await box.letters())[:3]))

    assert (report.done, type(report.trouble)) == (3, TopicsUnavailable)
    again, _ = await _redrive(box)
    assert (again.done, again.trouble) == (2, None)
    assert len(_jobs(box)) == len(set(_jobs(box))) == 5


async def test_run_when_the_queue_is_full_then_it_waits_and_goes_on() -> None:
    box = Box()
    await box.put()
    troubles: list[Exception] = [ProducerFull("full")]
    box.kafka.faults.on_send = lambda _: troubles.pop() if troubles else None

    report, _ = await _redrive(box)

    assert report.done == 1


async def test_run_when_a_letter_cannot_be_redriven_then_the_others_are() -> None:
    box = Box()
    poison = await box.put(dead=MALFORMED)
    await box.put()

    report, told = await _redrive(box)

    assert (report.done, dict(report.refused)) == (1, {"poison": 1})
    assert [o.letter.place for o in told if o.refusal] == [poison]
    assert (await box.letter(poison)).resolved is None


async def test_run_when_the_topic_refuses_one_record_then_the_others_go_on() -> None:
    box = Box()
    first, second = await box.put(), await box.put()
    refusals: list[Exception] = [RecordRefused("too large", code="record_too_large")]
    box.kafka.faults.on_send = lambda _: refusals.pop() if refusals else None

    report, _ = await _redrive(box)

    assert (report.done, dict(report.refused)) == (1, {"record_too_large": 1})
    states = [(await box.letter(place)).resolved for place in (first, second)]
    assert sorted(map(str, states)) == ["None", "redriven"]


async def test_run_keeps_below_the_rate() -> None:
    box = Box()
    for _ in range(6):
        await box.put()
    before = asyncio.get_running_loop().time()

    await _redrive(box, rate=50)

    assert asyncio.get_running_loop().time() - before >= 5 / 50


async def test_run_keeps_the_order_of_a_conversation() -> None:
    box = Box()
    for number in range(50):
        await box.put(conversation="c-1", metadata={"n": str(number)})

    await _redrive(box)

    numbers = [_number(record.value) for record in box.kafka.records(REQUESTS)]
    assert numbers == list(range(50))


def _number(value: bytes | None) -> int:
    return int(orjson.loads(value or b"")["metadata"]["n"])


async def test_rehearse_says_the_same_and_writes_nothing() -> None:
    box = Box()
    await box.put()
    await box.put(dead=MALFORMED)
    letters = await box.letters()
    before = {topic: len(box.kafka.records(topic)) for topic in (REQUESTS, DEAD.name)}
    told: list[Outcome] = []

    report = await rehearse(_each(letters), _replacing(), told.append)

    assert (report.done, dict(report.refused)) == (1, {"poison": 1})
    assert {topic: len(box.kafka.records(topic)) for topic in before} == before
    _, redriven = await _redrive(box)
    assert _essence(told) == _essence(redriven)


def _essence(outcomes: list[Outcome]) -> set[tuple[Any, ...]]:
    return {
        (o.letter.place, o.replacement.job if o.replacement else o.refusal and o.refusal.code)
        for o in outcomes
    }


async def test_rehearse_and_drop_when_letters_cannot_be_read_to_the_end_then_they_say_so() -> None:
    box = Box()
    await box.put()
    letters = await box.letters()
    dropping = Dropping(producer=box.producer, clock=SystemClock(), by="ann", note="")

    rehearsed = await rehearse(_until_broker_goes(letters), _replacing(), lambda _: None)
    dropped = await dropping.run(_until_broker_goes(letters))

    assert (rehearsed.done, type(rehearsed.trouble)) == (1, TopicsUnavailable)
    assert (dropped.done, type(dropped.trouble)) == (1, TopicsUnavailable)


async def test_drop_marks_letters_and_deletes_nothing() -> None:
    box = Box()
    places = [await box.put(dead=MALFORMED) for _ in range(3)]
    before = len(box.kafka.records(DEAD.name))
    dropping = Dropping(producer=box.producer, clock=SystemClock(), by="ann", note="test data")

    report = await dropping.run(_each(await box.letters()))

    assert report.done == 3
    assert await box.letters() == []
    assert len(box.kafka.records(DEAD.name)) == before + 3
    _, resolution = await box.box.find(places[0])
    assert resolution is not None
    assert (resolution.kind, resolution.note) == (ResolutionKind.DROPPED, "test data")
