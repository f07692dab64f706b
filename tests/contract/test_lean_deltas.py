"""The short way to a delta's patch says what the general way says, or leaves it to that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock_contracts.parts import Delta, ReasoningDelta, TextDelta
from penstock_kit.errors import Rejected
from penstock_kit.jobs.encoding import DeltaRecords
from penstock_kit.jobs.lean_deltas import lean_delta_patch
from penstock_kit.jobs.patches import patch_of_event
from penstock_kit.kafka.ports import Record
from penstock_kit.telemetry.tracing import child_of

from tests.support.job_records import IDS, job_id

AT = datetime(2026, 11, 21, 12, 30, 1, 234_000, tzinfo=timezone.utc)


def written(deltas: list[Delta], *, seq: int = 3, user: str | None = "ann") -> Record:
    """A delta as a worker writes it."""
    records = DeltaRecords(
        job=job_id(5), tenant="acme", user=user, attempt=1, source="/w", trace=child_of(None)
    )
    record = records.record(deltas, seq=seq, at=AT)
    return Record(record.topic, 0, 7, record.key, record.value, list(record.headers), 1)


def with_header(name: str, raw: bytes | None) -> Callable[[Record], Record]:
    def change(record: Record) -> Record:
        kept: list[Any] = [pair for pair in record.headers if pair[0] != name]
        return replace(record, headers=kept if raw is None else [*kept, (name, raw)])

    return change


def with_member(name: str, value: Any) -> Callable[[Record], Record]:
    def change(record: Record) -> Record:
        body = orjson.loads(record.value or b"")
        return replace(record, value=orjson.dumps({**body, name: value}))

    return change


@given(
    texts=st.lists(st.text(min_size=1), min_size=1, max_size=3),
    seq=st.integers(1, 10**9),
    user=st.none() | st.just("ann"),
)
def test_what_workers_write_goes_the_short_way(texts: list[str], seq: int, user: str) -> None:
    deltas: list[Delta] = [
        TextDelta(choice=number, text=text.encode(errors="replace").decode())
        for number, text in enumerate(texts)
    ]
    record = written(deltas, seq=seq, user=user)

    assert lean_delta_patch(record, ids=IDS) == patch_of_event(record, ids=IDS)


@pytest.mark.parametrize(
    "change",
    [
        with_header("ce_tenant", b"rival"),
        with_header("ce_tenant", None),
        with_header("ce_tenant", b"a b"),
        with_header("ce_user", b"\xff"),
        with_header("ce_user", b"-"),
        with_header("ce_subject", b"job_0"),
        with_header("ce_attempt", b"2"),
        with_header("ce_attempt", b"01"),
        with_header("ce_seq", b"x"),
        with_header("ce_specversion", b"0.3"),
        with_header("ce_id", b""),
        with_header("ce_source", b"/" + b"x" * 1100),
        with_header("ce_time", b"yesterday"),
        with_header("ce_time", b"2026-11-21T12:30:01.235Z"),
        with_header("ce_more", b"1"),
        with_header("content-type", b"text/plain"),
        with_member("at", "2026-13-41T12:30:01.234Z"),
        with_member("attempt", value=True),
        with_member("attempt", "1"),
        with_member("seq", 0),
        with_member("seq", 3.0),
        with_member("job", None),
        with_member("type", "completed"),
        with_member("deltas", []),
        with_member("deltas", [{"type": "text", "choice": -1, "text": "x"}]),
        with_member("deltas", [{"type": "text", "choice": 0, "text": 1}]),
        with_member("deltas", [{"type": "text", "text": "x"}]),
        with_member("deltas", ["x"]),
        with_member("more", {"deep": [1]}),
        lambda record: replace(record, value=b"{"),
        lambda record: replace(record, value=b"[]"),
        lambda record: replace(record, value=None),
        lambda record: replace(record, key=b"job_1"),
        lambda record: replace(record, key=None),
    ],
)
def test_what_differs_is_left_to_the_general_way_or_means_the_same(
    change: Callable[[Record], Record],
) -> None:
    record = change(written([TextDelta(text="some words")]))

    lean = lean_delta_patch(record, ids=IDS)

    try:
        general = patch_of_event(record, ids=IDS)
    except Rejected:
        assert lean is None
    else:
        assert lean in (None, general)


def test_other_pieces_than_text_go_the_general_way() -> None:
    record = written([ReasoningDelta(text="hm")])

    assert lean_delta_patch(record, ids=IDS) is None
    assert patch_of_event(record, ids=IDS).facets.has_output
