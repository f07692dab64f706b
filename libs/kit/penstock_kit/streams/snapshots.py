"""Snapshots: what a late joiner gets instead of the events it missed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from penstock_contracts.events import DeltaEvent, JobStatus, Position
from penstock_contracts.parts import Delta, merge_counted
from penstock_contracts.snapshot import Snapshot
from penstock_contracts.state import JobState

from penstock_kit.jobs.replay import counted_deltas
from penstock_kit.streams.history import START, Gap, Piece, follows

__all__ = ["Found", "lost_at", "snapshot_of"]

log = structlog.get_logger(__name__)

_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)
"""What bytes in the log that are no event of ours provoke; both decoders raise ValueErrors."""
_ENDING_MEMBERS = ("output", "output_ref", "error", "usage", "model", "provider", "at")


@dataclass(frozen=True, slots=True)
class Found:
    """A snapshot; `gap` tells why output before it is missing, None: it is whole."""

    snapshot: Snapshot
    gap: Gap | None


@dataclass(frozen=True, slots=True)
class _Output:
    """Merged deltas, and how many pieces each stands for."""

    deltas: list[Delta] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)


def snapshot_of(job: str, pieces: Sequence[Piece], state: JobState | None) -> Found:
    """All that is known of a job, at its newest known place.

    Output of the current attempt is given if it is known from its begin; else none of it, so that
    no text with a hole is ever shown, and `gap` says so.
    """
    if pieces and pieces[-1].is_terminal:
        return _ended(job, pieces)
    if state is not None and state.status.is_terminal:
        return Found(_from_state(state), None)
    place = max((piece.position for piece in pieces), default=START)
    known = Position(state.attempt, state.seq) if state is not None else START
    current = [piece for piece in pieces if piece.position.attempt == place.attempt]
    gap = _gap(current, place=place, known=known)
    newest = max(place, known)
    output = _output(current) if gap is None else None
    known_output = output or _Output()
    snapshot = Snapshot(
        job=job,
        status=_status(pieces, state, newest=newest),
        attempt=newest.attempt,
        seq=newest.seq,
        deltas=known_output.deltas,
        pieces=known_output.pieces,
        had_reset=_had_reset(current),
    )
    return Found(snapshot, gap or (Gap.LOST if output is None else None))


def lost_at(job: str, place: Position) -> Snapshot:
    """A snapshot that says only that what was before a place is lost."""
    return Snapshot(job=job, status=JobStatus.RUNNING, attempt=place.attempt, seq=place.seq)


def _gap(current: Sequence[Piece], *, place: Position, known: Position) -> Gap | None:
    if known > place:
        return Gap.LAG  # the table tells of events that are not to be had, or not yet
    begin = Position(place.attempt, 0)
    stored = max((piece.position for piece in current if piece.is_stored), default=None)
    for piece in current:
        if not follows(begin, piece.first):
            is_newer = stored is None or piece.first > stored
            return Gap.LAG if is_newer else Gap.LOST
        begin = piece.position
    return None


def _status(pieces: Sequence[Piece], state: JobState | None, *, newest: Position) -> JobStatus:
    if state is not None and Position(state.attempt, state.seq) >= newest:
        return state.status
    if not pieces or newest.attempt == 0:
        return JobStatus.QUEUED
    return JobStatus.RETRYING if pieces[-1].type == "retrying" else JobStatus.RUNNING


def _output(pieces: Iterable[Piece]) -> _Output | None:
    """The output in the pieces; None if one of them cannot be read."""
    found: list[tuple[Delta, int]] = []
    try:
        for piece in pieces:
            if piece.type == "reset":
                found.clear()
            elif piece.type == "delta":
                found += counted_deltas(DeltaEvent.model_validate_json(piece.value))
        return _Output(*merge_counted(found))
    except _UNREADABLE as error:
        log.warning("stream.unreadable", error=type(error).__name__)
        return None


def _had_reset(current: Iterable[Piece]) -> bool:
    return any(piece.type == "reset" for piece in current)


def _ended(job: str, pieces: Sequence[Piece]) -> Found:
    ending = pieces[-1]
    before = [piece for piece in pieces[:-1] if piece.position.attempt == ending.position.attempt]
    is_whole = _gap([*before, ending], place=ending.position, known=START) is None
    # A result says all; without one, what was sent until then is all that there is.
    output = _output(before) if is_whole and ending.type != "completed" else None
    known_output = output or _Output()
    members: dict[str, Any] = {
        "job": job,
        "status": ending.type,
        "attempt": ending.position.attempt,
        "seq": ending.position.seq,
        "deltas": known_output.deltas,
        "pieces": known_output.pieces,
        "had_reset": _had_reset(before),
    }
    try:
        event = orjson.loads(ending.value)
        result = {name: event[name] for name in _ENDING_MEMBERS if event.get(name) is not None}
        return Found(Snapshot.model_validate(members | result), None)
    except _UNREADABLE as error:
        log.warning("stream.unreadable", error=type(error).__name__)
        return Found(Snapshot.model_validate(members), Gap.LOST)


def _from_state(state: JobState) -> Snapshot:
    # Only a completed event names a model; else the state tells which one was asked.
    is_completed = state.status is JobStatus.COMPLETED
    return Snapshot(
        job=state.job,
        status=state.status,
        attempt=state.attempt,
        seq=state.seq,
        output=state.output,
        output_ref=state.output_ref,
        error=state.error,
        usage=state.usage,
        model=state.model if is_completed else None,
        provider=state.provider if is_completed else None,
        at=state.ended_at,
    )
