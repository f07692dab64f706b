"""Puts a job's stream together again: the text so far, whatever was cut, repeated or begun anew."""

from __future__ import annotations

from penstock_contracts.events import TERMINAL, Completed, DeltaEvent, JobEvent, Position
from penstock_contracts.parts import ChatOutput, Delta, GenerateOutput, Output, TextDelta
from penstock_contracts.snapshot import Snapshot

from penstock.client.models import StreamEvent

__all__ = ["START", "Transcript", "output_text"]

START = Position(0, 0)


def output_text(output: Output | None) -> str | None:
    """The text of a result: its first choice, or the generated document; None for other kinds."""
    if isinstance(output, ChatOutput):
        return output.choices[0].text if output.choices else ""
    return output.text if isinstance(output, GenerateOutput) else None


class Transcript:
    """Folds events in. A new attempt with output voids the text of the one before.

    Attributes:
        text: text of the first choice in the current attempt.
        position: the last place that was taken in; resume after it.
        gaps: how often a `seq` was missing. The stream promises none.
        last: the event or snapshot that ended the job; None while it runs.
    """

    def __init__(self) -> None:
        self.text = ""
        self.position = START
        self.gaps = 0
        self.last: StreamEvent | None = None

    def take(self, event: StreamEvent) -> str:
        """The text that the event adds; empty if it adds none. Repeated events change nothing."""
        if event.position <= self.position:
            if self.last is None and not isinstance(event, Snapshot) and event.type in TERMINAL:
                self.last = event  # an earlier attempt ended the job: the first end counts
            return ""
        if isinstance(event, Snapshot):
            return self._take_snapshot(event)
        return self._take_event(event)

    @property
    def output(self) -> Output | None:
        """The job's result, once it is there inline."""
        return self.last.output if isinstance(self.last, Completed | Snapshot) else None

    def _take_snapshot(self, snapshot: Snapshot) -> str:
        before, self.position = self.text, snapshot.position
        whole = output_text(snapshot.output)
        self.text = _text_of(snapshot.deltas) if whole is None else whole
        if snapshot.status.is_terminal:
            self.last = snapshot
        return self.text.removeprefix(before)

    def _take_event(self, event: JobEvent) -> str:
        if event.attempt != self.position.attempt:
            self.text = ""
            self.gaps += event.seq != 1
        else:
            # Before the first attempt numbers may be left out.
            self.gaps += event.attempt > 0 and event.seq != self.position.seq + 1
        self.position = event.position
        if event.type in TERMINAL:
            self.last = event
        added = _text_of(event.deltas) if isinstance(event, DeltaEvent) else ""
        self.text += added
        return added


def _text_of(deltas: list[Delta]) -> str:
    return "".join(
        delta.text for delta in deltas if isinstance(delta, TextDelta) and delta.choice == 0
    )
