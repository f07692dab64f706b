from __future__ import annotations

from datetime import datetime, timezone

from penstock.client import Transcript
from penstock_contracts.events import Completed, DeltaEvent, JobStatus, Reset, Started
from penstock_contracts.parts import ChatOutput, Choice, TextDelta
from penstock_contracts.snapshot import Snapshot

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)
JOB = "job_" + "0" * 32


def _delta(attempt: int, seq: int, text: str) -> DeltaEvent:
    return DeltaEvent(job=JOB, attempt=attempt, seq=seq, at=AT, deltas=[TextDelta(text=text)])


def _started(attempt: int) -> Started:
    return Started(job=JOB, attempt=attempt, seq=1, at=AT, task="chat", worker="w")


def _completed(attempt: int, seq: int, text: str) -> Completed:
    output = ChatOutput(choices=[Choice(index=0, text=text, finish_reason="stop")])
    return Completed(job=JOB, attempt=attempt, seq=seq, at=AT, output=output)


def test_deltas_in_order_make_the_text_without_gaps() -> None:
    transcript = Transcript()

    added = [
        transcript.take(event)
        for event in (_started(1), _delta(1, 2, "Hel"), _delta(1, 3, "lo"), _completed(1, 4, ""))
    ]

    assert added == ["", "Hel", "lo", ""]
    assert (transcript.text, transcript.gaps) == ("Hello", 0)
    assert transcript.last is not None


def test_job_that_is_not_streamed_has_its_text_at_the_end() -> None:
    transcript = Transcript()

    added = [transcript.take(event) for event in (_started(1), _completed(1, 2, "Hello"))]

    assert added == ["", "Hello"]
    assert transcript.text == "Hello"


def test_event_when_repeated_changes_nothing() -> None:
    transcript = Transcript()
    transcript.take(_started(1))
    transcript.take(_delta(1, 2, "once"))

    assert transcript.take(_delta(1, 2, "once")) == ""
    assert transcript.text == "once"


def test_event_after_a_missing_one_is_counted_as_gap() -> None:
    transcript = Transcript()
    transcript.take(_started(1))
    transcript.take(_delta(1, 3, "late"))

    assert transcript.gaps == 1


def test_new_attempt_voids_the_text_of_the_one_before() -> None:
    transcript = Transcript()
    for event in (_started(1), _delta(1, 2, "half an ans")):
        transcript.take(event)

    transcript.take(_started(2))
    transcript.take(Reset(job=JOB, attempt=2, seq=2, at=AT, reason="retry"))
    transcript.take(_delta(2, 3, "whole"))

    assert (transcript.text, transcript.gaps) == ("whole", 0)


def test_snapshot_stands_for_what_was_missed() -> None:
    transcript = Transcript()
    transcript.take(_started(1))
    transcript.take(_delta(1, 2, "Hel"))
    snapshot = Snapshot(
        job=JOB,
        status=JobStatus.RUNNING,
        attempt=1,
        seq=7,
        deltas=[TextDelta(text="Hello wor")],
    )

    added = transcript.take(snapshot)
    transcript.take(_delta(1, 8, "ld"))

    assert added == "lo wor"
    assert (transcript.text, transcript.gaps) == ("Hello world", 0)


def test_snapshot_of_a_finished_job_ends_the_transcript_with_its_output() -> None:
    transcript = Transcript()
    output = ChatOutput(choices=[Choice(index=0, text="done", finish_reason="stop")])

    transcript.take(Snapshot(job=JOB, status=JobStatus.COMPLETED, attempt=1, seq=9, output=output))

    assert (transcript.text, transcript.output) == ("done", output)
