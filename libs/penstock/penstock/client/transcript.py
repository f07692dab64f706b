"""Puts a job's stream together again: the text so far, whatever was cut, repeated or begun anew."""

from __future__ import annotations

from typing import Any

from penstock_contracts.events import Completed, Position
from penstock_contracts.parts import ChatOutput, GenerateOutput, Output
from penstock_contracts.snapshot import Snapshot
from penstock_kit.streams.assembler import StreamAssembler, Taken

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

    The rules are those of `StreamAssembler`; here events come decoded, and their text is told.

    Attributes:
        gaps: how often a `seq` was missing. The stream promises none.
        last: the event or snapshot that ended the job; None while it runs.
    """

    def __init__(self) -> None:
        self.gaps = 0
        self.last: StreamEvent | None = None
        self._stream = StreamAssembler()
        self._result: str | None = None

    @property
    def text(self) -> str:
        """Text of the first choice in the current attempt."""
        return self._stream.text() if self._result is None else self._result

    @property
    def position(self) -> Position:
        """The last place that was taken in; resume after it."""
        return self._stream.position or START

    def take(self, event: StreamEvent) -> str:
        """The text that the event adds; empty if it adds none. Repeated events change nothing."""
        before = self.text
        place = self.position
        plain = event.model_dump(mode="json", exclude_none=True)
        if isinstance(event, Snapshot):
            if event.position <= place:
                return ""
            self._stream.apply_snapshot(plain)
            self._result = output_text(event.output)
        elif self._apply(plain) is Taken.OLD:
            return ""
        elif isinstance(event, Completed) and not self._stream.text():
            self._result = output_text(event.output)  # of a job that is not streamed
        if self._stream.is_over and self.last is None:
            self.last = event
        is_anew = not isinstance(event, Snapshot) and event.attempt != place.attempt
        return self.text if is_anew else self.text.removeprefix(before)

    @property
    def output(self) -> Output | None:
        """The job's result, once it is there inline."""
        return self.last.output if isinstance(self.last, Completed | Snapshot) else None

    def _apply(self, plain: dict[str, Any]) -> Taken:
        taken = self._stream.apply_event(plain)
        if taken is Taken.GAP:
            self.gaps += 1
            self._stream.skip_to(plain)
            taken = self._stream.apply_event(plain)
        return taken
