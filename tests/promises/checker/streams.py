"""P15: what clients put together out of cut streams is what the job said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.promises.checker.evidence import Evidence
from tests.promises.checker.fold import TERMINAL, deltas_text, fold, output_text
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["Reader", "check_streams"]

_MOST_LOSSES = 0.05
"""Share of streams that may be told that output was lost: it is allowed, not a habit."""


class Reader:
    """A client that obeys docs/websocket.md, and counts what it was promised not to see."""

    def __init__(self) -> None:
        self.place = (0, 0)
        self.text = ""
        self.gaps = 0
        self.is_told_of_loss = False
        self.ended: str | None = None

    def take(self, frame: dict[str, Any]) -> None:
        """One event or snapshot of the transcript."""
        kind, place = frame["type"], (frame["place"][0], frame["place"][1])
        if self.ended is not None:
            return
        if kind == "snapshot":
            self._take_snapshot(frame, place)
        elif place > self.place:
            self._advance(place)
            self.place = place
            self.text += deltas_text(frame.get("deltas"))
            if kind in TERMINAL:
                self._end(kind, frame)
        elif kind in TERMINAL:
            self._end(kind, frame)

    def _end(self, kind: str, frame: dict[str, Any]) -> None:
        self.ended = kind
        whole = output_text(frame.get("output"))
        if self.is_told_of_loss and whole is not None:
            self.text = whole  # as docs/websocket.md tells who was told that output was lost

    def _take_snapshot(self, frame: dict[str, Any], place: tuple[int, int]) -> None:
        self.place = place
        whole = output_text(frame.get("output"))
        self.text = deltas_text(frame.get("deltas")) if whole is None else whole
        self.is_told_of_loss = place[0] > 0 and place[1] > 1 and not self.text
        if frame.get("status") in TERMINAL:
            self.ended = frame["status"]

    def _advance(self, place: tuple[int, int]) -> None:
        """A higher attempt begins anew at 1; within an attempt nothing is left out."""
        attempt, seq = place
        if attempt != self.place[0]:
            self.text, self.is_told_of_loss = "", False
            self.gaps += seq != 1
        elif attempt > 0:
            self.gaps += seq != self.place[1] + 1


def check_streams(evidence: Evidence) -> Verdict:
    """Text put together equals the result; no gap without a snapshot; numbers are used once."""
    offenders: list[str] = list(_numbers_reused(evidence))
    lines = evidence.journal("streams")
    cuts = sum(line["cuts"] for line in lines)
    snapshots = losses = 0
    for line in lines:
        reader = Reader()
        for frame in line["frames"]:
            if "place" in frame:
                snapshots += frame["type"] == "snapshot"
                reader.take(frame)
        losses += reader.is_told_of_loss
        offenders += _judge(line, reader, evidence)
    if losses > 5 + _MOST_LOSSES * len(lines):
        offenders.append(f"{losses} streams were told that output was lost")
    figure = (
        f"{len(offenders)} wrong of {len(lines)} streams, {cuts} cuts by us, "
        f"{snapshots} explicit snapshots, {losses} told of lost output"
    )
    return judged("P15", "streams resume exactly", figure, offenders, of=len(lines))


def _judge(line: dict[str, Any], reader: Reader, evidence: Evidence) -> Iterator[str]:
    name = f"{line['job']} by {line['via']}"
    end = fold(evidence.events.get(line["job"], [])).end
    if end is None:
        return
    if reader.ended is None:
        yield f"{name}: never heard the end"
    if reader.gaps:
        yield f"{name}: {reader.gaps} gaps that nobody told of"
    wanted = output_text(end.body.get("output"))
    if reader.ended == "completed" and wanted is not None and reader.text != wanted:
        yield f"{name}: put {len(reader.text)} characters together, the result has {len(wanted)}"


def _numbers_reused(evidence: Evidence) -> Iterator[str]:
    """In the log itself: one place, one event; all places of an attempt stand before its end.

    Their order may be another one: what got lost on the way is written again in its own place.
    """
    for job, events in evidence.events.items():
        seen: dict[tuple[int, int], tuple[str, object, object]] = {}
        places: dict[int, set[int]] = defaultdict(set)
        for event in events:
            body, attempt = event.body, event.attempt
            content = (event.type, body.get("deltas"), body.get("worker"))
            if seen.setdefault((attempt, event.seq), content) != content and attempt > 0:
                yield f"{job}: place {attempt}-{event.seq} is used twice"
            places[attempt].add(event.seq)
            missing = event.seq - len(places[attempt])
            if event.type in TERMINAL and attempt > 0 and missing > 0:
                yield f"{job}: {event.type} {attempt}-{event.seq} with {missing} places missing"
