"""What a dead letter says survives the way through headers, whatever the original carried."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from hypothesis import given
from hypothesis import strategies as st
from penstock_contracts.dead import (
    DeadLetter,
    DeadReason,
    Resolution,
    ResolutionKind,
    dead_headers,
    original_headers,
    read_dead_letter,
    read_resolution,
    resolution_headers,
)

AT = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
LETTER = DeadLetter(
    reason=DeadReason.FAILURE,
    code="attempts_exhausted",
    detail="the provider says 503",
    topic="ai.chat.requests.v1",
    partition=3,
    offset=17,
    at=AT,
    by="llm-worker",
    attempts=5,
    answer="503 overloaded",
)
RESOLUTION = Resolution(
    kind=ResolutionKind.REDRIVEN,
    partition=3,
    offset=17,
    at=AT,
    by="ann",
    to="ai.chat.requests.v1/2/40",
    job="job_1",
)
LONG = "x" * 100_000


def test_read_dead_letter_gives_what_was_written() -> None:
    assert read_dead_letter(dead_headers(LETTER)) == LETTER


def test_dead_headers_when_everything_is_huge_then_far_below_the_reserve() -> None:
    letter = replace(LETTER, code=LONG, detail=LONG, topic=LONG, by=LONG, answer="é" * 50_000)

    headers = dead_headers(letter)

    assert sum(len(name) + len(raw) for name, raw in headers) < 16 * 1024
    assert len(dict(headers)["penstock_dead_answer"]) == 2048


@given(st.lists(st.tuples(st.sampled_from(["h", *dict(dead_headers(LETTER))]), st.binary())))
def test_read_dead_letter_when_original_had_such_headers_then_ours_count(
    own: list[tuple[str, bytes]],
) -> None:
    headers = [*own, *dead_headers(LETTER)]

    assert read_dead_letter(headers) == LETTER
    assert original_headers(headers) == own


def test_read_resolution_gives_what_was_written() -> None:
    assert read_resolution(resolution_headers(RESOLUTION)) == RESOLUTION
    assert read_dead_letter(resolution_headers(RESOLUTION)) is None


def test_read_resolution_when_a_producer_forged_its_headers_then_it_stays_a_letter() -> None:
    headers = [*resolution_headers(RESOLUTION), *dead_headers(LETTER)]

    assert read_resolution(headers) is None
    assert read_dead_letter(headers) == LETTER


@given(st.dictionaries(st.sampled_from(["reason", "of", "resolution", "at", "topic"]), st.binary()))
def test_read_when_headers_are_nonsense_then_neither(fields: dict[str, bytes]) -> None:
    headers = [(f"penstock_dead_{name}", raw) for name, raw in fields.items()]

    assert read_dead_letter(headers) is None
    assert read_resolution(headers) is None or b"/" in fields["of"]
