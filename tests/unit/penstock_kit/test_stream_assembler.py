from __future__ import annotations

from penstock_contracts.events import JobStatus, Position
from penstock_kit.streams.assembler import StreamAssembler, Taken

from tests.support.events import a_job, event_fields, text_of

JOB = a_job()


def fed(*events: tuple[str, str, str]) -> tuple[StreamAssembler, list[Taken]]:
    reader = StreamAssembler()
    taken = [
        reader.apply_event(event_fields(JOB, kind, place, text=text))
        for kind, place, text in events
    ]
    return reader, taken


def test_text_when_events_in_order_then_whole() -> None:
    reader, _ = fed(
        ("queued", "0-1", ""),
        ("started", "1-1", ""),
        ("delta", "1-2", "Hello "),
        ("delta", "1-3", "you"),
        ("completed", "1-4", "Hello you"),
    )

    assert reader.text() == "Hello you" == text_of(reader.output or {})
    assert reader.is_over
    assert reader.position == Position(1, 4)


def test_event_when_seen_or_after_the_end_then_old() -> None:
    reader, taken = fed(
        ("started", "1-1", ""),
        ("started", "1-1", ""),
        ("failed", "1-2", ""),
        ("delta", "1-3", "x"),
    )

    assert taken == [Taken.APPLIED, Taken.OLD, Taken.APPLIED, Taken.OLD]
    assert reader.status is JobStatus.FAILED
    assert reader.error is not None


def test_event_when_something_is_missing_then_gap_and_nothing_changes() -> None:
    reader, taken = fed(("started", "1-1", ""), ("delta", "1-3", "x"), ("delta", "2-2", "y"))

    assert taken[1:] == [Taken.GAP, Taken.GAP]
    assert reader.position == Position(1, 1)
    assert reader.text() == ""


def test_text_when_attempt_begins_anew_then_dropped() -> None:
    reader, _ = fed(
        ("started", "1-1", ""),
        ("delta", "1-2", "wrong"),
        ("started", "2-1", ""),
        ("reset", "2-2", ""),
        ("delta", "2-3", "right"),
        ("delta", "1-3", "zombie"),
    )

    assert reader.text() == "right"


def test_end_when_behind_the_start_of_a_later_attempt_then_does_not_count() -> None:
    reader, taken = fed(
        ("started", "1-1", ""), ("started", "2-1", ""), ("completed", "1-2", "done")
    )

    assert taken[-1] is Taken.OLD
    assert reader.status is JobStatus.RUNNING


def test_snapshot_when_taken_then_replaces_everything() -> None:
    reader, _ = fed(("started", "1-1", ""), ("delta", "1-2", "old"))

    reader.apply_snapshot(
        {
            "type": "snapshot",
            "job": JOB,
            "status": "running",
            "attempt": 2,
            "seq": 9,
            "deltas": [{"type": "text", "choice": 0, "text": "new "}],
        }
    )
    reader.apply_event(event_fields(JOB, "delta", "2-10", text="text"))

    assert reader.text() == "new text"
