"""The reader's side of a stream, without I/O: feed it events and snapshots as they come.

The Python client uses it, and the tests hold servers to it. It is also the reference for clients in
other languages: docs/websocket.md tells the same rules in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from penstock_contracts.events import TERMINAL, JobStatus, Position

__all__ = ["StreamAssembler", "Taken"]

_STATUS = {
    "queued": JobStatus.QUEUED,
    "started": JobStatus.RUNNING,
    "retrying": JobStatus.RETRYING,
}


class Taken(Enum):
    """What became of an event."""

    APPLIED = "applied"
    OLD = "seen already, or of an attempt that is over: dropped"
    GAP = "something before it is missing: subscribe again with `position`"


class StreamAssembler:
    """Puts a job's output together.

    Attributes:
        position: the last place applied; what to resume from. None before the first event.
        output: the result as in the `completed` event; None before, or if it lies behind
            `output_ref`.
        error: of `failed`, `retrying` and `unknown_outcome`.
    """

    def __init__(self) -> None:
        self.position: Position | None = None
        self.status: JobStatus | None = None
        self.output: dict[str, Any] | None = None
        self.output_ref: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self._text: dict[int, list[str]] = {}

    @property
    def is_over(self) -> bool:
        """Whether the job has ended: nothing that comes now changes anything."""
        return self.status is not None and self.status.is_terminal

    def text(self, choice: int = 0) -> str:
        """The answer's text so far, of the current attempt only."""
        return "".join(self._text.get(choice, ()))

    def apply_event(self, event: Mapping[str, Any]) -> Taken:
        """Take one job event (the `event` member of a frame, the `data` of a server-sent event)."""
        place = Position(event["attempt"], event["seq"])
        kind = event["type"]
        if self.is_over:
            return Taken.OLD
        taken = self._check(place)
        if taken is Taken.APPLIED:
            self._apply(place, kind, event)
        return taken

    def apply_snapshot(self, snapshot: Mapping[str, Any]) -> None:
        """Take a snapshot: it replaces everything so far."""
        if self.is_over:
            return
        self.position = Position(snapshot["attempt"], snapshot["seq"])
        self.status = JobStatus(snapshot["status"])
        self._text.clear()
        self._append(snapshot.get("deltas", ()))
        self._keep_ending(snapshot)

    def skip_to(self, event: Mapping[str, Any]) -> None:
        """Go on at an event although something before it is missing: for readers that cannot ask.

        What is known of the same attempt stays.
        """
        place = Position(event["attempt"], event["seq"])
        if self.position is None or place.attempt != self.position.attempt:
            self._text.clear()
        self.position = Position(place.attempt, place.seq - 1)

    def _check(self, place: Position) -> Taken:
        last = self.position or Position(0, 0)
        if place.attempt == last.attempt:
            if place.seq <= last.seq:
                return Taken.OLD
            is_next = place.seq == last.seq + 1 or place.attempt == 0
            return Taken.APPLIED if is_next else Taken.GAP
        if place.attempt < last.attempt:
            return Taken.OLD  # its end too: who writes it was thought dead, another has begun anew
        return Taken.APPLIED if place.seq == 1 else Taken.GAP

    def _apply(self, place: Position, kind: str, event: Mapping[str, Any]) -> None:
        if kind == "reset" or self.position is None or place.attempt != self.position.attempt:
            self._text.clear()
        self.position = place
        if kind == "delta":
            self.status = JobStatus.RUNNING
            self._append(event["deltas"])
        elif kind in TERMINAL:
            self.status = JobStatus(kind)
        else:
            self.status = _STATUS.get(kind, self.status)
        self._keep_ending(event)

    def _append(self, deltas: Any) -> None:
        for delta in deltas:
            if delta["type"] == "text":
                self._text.setdefault(delta.get("choice", 0), []).append(delta["text"])

    def _keep_ending(self, fields: Mapping[str, Any]) -> None:
        self.output = fields.get("output")
        self.output_ref = fields.get("output_ref")
        self.error = fields.get("error")
