from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from penstock_contracts.events import DeltaEvent, Position
from penstock_kit.jobs.replay import counted_deltas, decode_prefix, encode_prefix, merge_events
from penstock_kit.jobs.view import StoredEvent

from tests.support.job_records import delta, event_record, job_id, started

JOB = job_id(1)
MIB = 1024 * 1024


def stored(kind: str, attempt: int, seq: int, text: str = "x") -> StoredEvent:
    if kind == "delta":
        record = delta(JOB, (attempt, seq), text)
    elif kind == "reset":
        record = event_record(JOB, "reset", (attempt, seq), reason="retry")
    else:
        record = started(JOB, attempt, seq=seq)
    assert record.value is not None
    return StoredEvent(Position(attempt, seq), kind, record.value)


def text_of(events: list[StoredEvent]) -> str:
    parts = [DeltaEvent.model_validate_json(e.value).deltas for e in events if e.type == "delta"]
    return "".join(delta.text for deltas in parts for delta in deltas if delta.type == "text")


@given(st.lists(st.text(max_size=4), min_size=1, max_size=12), st.integers(0, 11))
def test_merging_bit_by_bit_keeps_the_text_and_the_range(texts: list[str], cut: int) -> None:
    events = [stored("delta", 1, seq, text) for seq, text in enumerate(texts, start=2)]

    prefix = decode_prefix(encode_prefix(merge_events(events[:cut], cap_bytes=MIB)))
    merged = merge_events([*prefix, *events[cut:]], cap_bytes=MIB)

    assert len(merged) == 1
    assert text_of(merged) == "".join(texts)
    assert merged[0].position == (1, len(texts) + 1)
    assert (merged[0].first or merged[0].position) == (1, 2)


@given(st.lists(st.text(max_size=2), min_size=1, max_size=12), st.integers(0, 11))
def test_merging_bit_by_bit_counts_the_pieces_with_content(texts: list[str], cut: int) -> None:
    events = [stored("delta", 1, seq, text) for seq, text in enumerate(texts, start=2)]

    prefix = decode_prefix(encode_prefix(merge_events(events[:cut], cap_bytes=MIB)))
    merged = merge_events([*prefix, *events[cut:]], cap_bytes=MIB)

    event = DeltaEvent.model_validate_json(merged[0].value)
    assert [count for _, count in counted_deltas(event)] == [sum(text != "" for text in texts)]


def test_merging_keeps_void_output_apart_from_what_came_instead() -> None:
    events = [
        stored("started", 1, 1),
        stored("delta", 1, 2, "void"),
        stored("started", 2, 1),
        stored("reset", 2, 2),
        stored("delta", 2, 3, "kept"),
    ]

    merged = merge_events(events, cap_bytes=MIB)

    assert [event.type for event in merged] == ["started", "delta", "started", "reset", "delta"]
    assert [text_of([event]) for event in merged if event.type == "delta"] == ["void", "kept"]


def test_merging_over_the_cap_drops_the_oldest() -> None:
    events = [stored("started", 1, 1), stored("delta", 1, 2, "x" * 1000)]

    assert merge_events(events, cap_bytes=1000) == []
