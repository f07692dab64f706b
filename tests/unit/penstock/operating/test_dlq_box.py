from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from penstock.operating.dlq.box import NoLetter
from penstock.operating.dlq.letters import LetterFilter, Place, parse_place, read_letter
from penstock_contracts.dead import (
    DeadReason,
    Resolution,
    ResolutionKind,
    resolution_headers,
)
from penstock_contracts.retries import RetryNote, retry_headers
from penstock_contracts.topics import DEAD
from penstock_kit.kafka.ports import OutRecord

from tests.support.dead_letters import MALFORMED, Box
from tests.support.job_records import job_id, request_record

NOW = datetime.now(timezone.utc)


def _resolution(place: Place, **fields: Any) -> Resolution:
    members = {"kind": ResolutionKind.DROPPED, "at": NOW, "by": "ann", **fields}
    return Resolution(partition=place.partition, offset=place.offset, **members)


async def _resolve(box: Box, place: Place, *, partition: int | None = None) -> None:
    where = place.partition if partition is None else partition
    headers = resolution_headers(_resolution(place))
    await box.producer.send(OutRecord(DEAD.name, b"k", None, headers, partition=where))


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        ({}, True),
        ({"tenant": "acme"}, True),
        ({"tenant": "acm"}, False),
        ({"task": "chat"}, True),
        ({"task": "embed"}, False),
        ({"reason": DeadReason.FAILURE}, True),
        ({"reason": DeadReason.POISON}, False),
        ({"code": "attempts_*"}, True),
        ({"code": "ATTEMPTS_*"}, False),
        ({"topic": "ai.chat.*"}, True),
        ({"topic": "ai.embed.*"}, False),
        ({"since": NOW - timedelta(hours=1)}, True),
        ({"since": NOW + timedelta(hours=1)}, False),
        ({"until": NOW + timedelta(hours=1)}, True),
        ({"until": NOW - timedelta(hours=1)}, False),
        ({"tenant": "acme", "task": "embed"}, False),
        ({"places": frozenset()}, False),
    ],
)
async def test_letters_are_those_that_fit_every_word(words: dict[str, Any], fits: bool) -> None:
    box = Box()
    await box.put()

    assert len(await box.letters(**words)) == int(fits)


async def test_letter_tells_whose_job_it_was_and_what_the_provider_said() -> None:
    box = Box()

    letter = await box.letter(await box.put())

    assert (letter.tenant, letter.task, letter.job) == ("acme", "chat", job_id(1))
    assert (letter.dead.answer, letter.source) == ("503 overloaded", "ai.chat.requests.v1")


async def test_letter_of_bytes_that_are_no_event_is_still_shown() -> None:
    box = Box()
    record = replace(request_record("j"), headers=[("ce_id", b"\xff")], value=b"\x00{")

    letter = await box.letter(await box.put_record(record, dead=MALFORMED))

    assert (letter.tenant, letter.task, letter.job, letter.data) == (None, None, None, b"\x00{")


async def test_letter_that_died_on_a_retry_belongs_to_its_first_topic() -> None:
    box = Box()
    note = RetryNote(source="ai.chat.requests.v1.high", failures=4, delay_ms=5000)
    request = request_record("j")
    waiting = replace(
        request, topic="ai.retries.v1.5s", headers=[*request.headers, *retry_headers(note)]
    )

    letter = await box.letter(await box.put_record(waiting))

    assert letter.source == "ai.chat.requests.v1.high"


async def test_letter_with_a_forged_note_belongs_where_it_was_read() -> None:
    box = Box()
    note = RetryNote(source="ai.embed.requests.v1", failures=4, delay_ms=5000)
    request = request_record("j")
    forged = replace(request, headers=[*request.headers, *retry_headers(note)])

    letter = await box.letter(await box.put_record(forged))

    assert letter.source == "ai.chat.requests.v1"


async def test_letters_when_one_is_resolved_then_only_with_resolved_shows_it() -> None:
    box = Box()
    done, open_one = await box.put(), await box.put()
    await _resolve(box, done)

    assert [letter.place for letter in await box.letters()] == [open_one]
    shown = {letter.place: letter.resolved for letter in await box.letters(with_resolved=True)}
    assert shown == {done: ResolutionKind.DROPPED, open_one: None}


async def test_survey_when_a_resolution_stands_before_its_letter_then_it_does_not_count() -> None:
    box = Box()
    await box.producer.start()
    await _resolve(box, Place(0, 7))
    await _resolve(box, Place(1, 0), partition=0)

    assert (await box.box.survey()).resolved == {}


async def test_letters_when_one_comes_after_the_survey_then_it_is_left_for_the_next_time() -> None:
    box = Box()
    first = await box.put()
    survey = await box.box.survey()
    await box.put()

    found = [letter.place async for letter in box.box.letters(survey, LetterFilter())]

    assert found == [first]


async def test_select_counts_all_and_takes_as_many_as_the_limit() -> None:
    box = Box()
    for _ in range(3):
        await box.put()
    await box.put(dead=MALFORMED)

    selection = await box.box.select(await box.box.survey(), LetterFilter(), limit=2)

    assert selection.total == 4
    assert selection.sums == {
        ("failure", "attempts_exhausted"): 3,
        ("poison", "schema_mismatch"): 1,
    }
    assert len(selection.places) == 2


async def test_find_when_there_is_none_then_says_how_to_list() -> None:
    box = Box()
    await box.put()

    with pytest.raises(NoLetter, match="dlq list --all"):
        await box.box.find(Place(0, 999))


async def test_find_gives_the_first_resolution() -> None:
    box = Box()
    place = await box.put()
    for by in ("ann", "bob"):
        headers = resolution_headers(_resolution(place, by=by))
        record = OutRecord(DEAD.name, b"k", None, headers, partition=place.partition)
        await box.producer.send(record)

    letter, resolution = await box.box.find(place)

    assert letter.resolved is ResolutionKind.DROPPED
    assert resolution is not None
    assert resolution.by == "ann"


def test_read_letter_when_record_is_a_resolution_then_none() -> None:
    headers = resolution_headers(_resolution(Place(0, 1)))

    assert read_letter(replace(request_record("j"), headers=headers)) is None


@pytest.mark.parametrize("text", ["3", "3/", "/3", "a/3", "3/-1", "3/1/2", "٣/1", ""])
def test_parse_place_of_another_form_is_none(text: str) -> None:
    assert parse_place(text) is None
    assert parse_place("3/17") == Place(3, 17)
