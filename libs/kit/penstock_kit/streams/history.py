"""What is known of a job's past, from Redis and from the ring, joined into one provable order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from penstock_contracts.events import TERMINAL, Position

__all__ = ["START", "Chain", "Gap", "Piece", "chain", "follows", "merge", "whole"]

START = Position(0, 0)
"""Before the first event of a job."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One event, or deltas merged into one that covers all places from `first` to `position`."""

    first: Position
    position: Position
    type: str
    value: bytes
    is_stored: bool = False

    @property
    def is_terminal(self) -> bool:
        """Whether the job ends with it."""
        return self.type in TERMINAL


class Gap(Enum):
    """Why a chain cannot be proven."""

    LAG = "the recorder has not folded yet what is missing: read again shortly"
    LOST = "what is missing is no longer kept"


@dataclass(frozen=True, slots=True)
class Chain:
    """Pieces without a gap between them, joined to the place asked for if `gap` is None."""

    pieces: list[Piece]
    gap: Gap | None = None


def follows(place: Position, first: Position) -> bool:
    """Whether nothing that counts lies between two places.

    True for the next place and for the begin of a later attempt: that makes void what an earlier
    one sent, so the end of the earlier one may be missing. Attempt 0 holds hints that may be lost;
    it never holds output.
    """
    if first.attempt == place.attempt:
        return first.seq == place.seq + 1 or (first.attempt == 0 and first.seq > place.seq)
    return first.attempt > place.attempt and (first.seq == 1 or first.attempt == 0)


def merge(*sources: Iterable[Piece]) -> list[Piece]:
    """All pieces once, by position; merged ones replace their parts, nothing follows an end.

    Each source knows at least as much of the log's order as the ones behind it: an end of an
    attempt that an earlier source has seen a later attempt of is behind the fence, and left out.
    """
    by_place: dict[Position, Piece] = {}
    ending: Piece | None = None
    for source in sources:
        newest = max((place.attempt for place in by_place), default=0)
        for piece in source:
            if not piece.is_terminal:
                by_place.setdefault(piece.position, piece)
            elif ending is None and piece.position.attempt >= newest:
                ending = piece
    merged: list[Piece] = []
    for place in sorted(by_place):
        if ending is not None and place > ending.position:
            break
        piece = by_place[place]
        while merged and merged[-1].first >= piece.first and piece.first != piece.position:
            merged.pop()  # its content is in this merged piece too
        merged.append(piece)
    if ending is not None:
        merged.append(ending)
    return merged


def chain(after: Position, pieces: Sequence[Piece], *, known: Position | None = None) -> Chain:
    """The pieces after a place, if it can be proven that none is missing.

    A merged piece breaks the chain: a reader counts places one by one, so it is given a snapshot
    instead.

    Args:
        after: the last place that the reader has.
        pieces: as `merge` gives them.
        known: the newest place that the job table knows of, which proves a place without its event.
    """
    later = [piece for piece in pieces if piece.position > after]
    if not later and pieces and pieces[-1].is_terminal:
        # A place behind the end was never part of the stream.
        return Chain([], None if pieces[-1].position == after else Gap.LOST)
    if not later:
        is_anchored = after in (START, known) or any(piece.position == after for piece in pieces)
        return Chain([], None if is_anchored else Gap.LAG)
    newest_stored = max((piece.position for piece in pieces if piece.is_stored), default=START)
    place = after
    for piece in later:
        if piece.first != piece.position or not follows(place, piece.first):
            return Chain([], Gap.LAG if piece.first > newest_stored else Gap.LOST)
        place = piece.position
    return Chain(later)


def whole(pieces: Sequence[Piece]) -> Chain:
    """All pieces from the begin of the stream, merged ones too, if none is missing in between.

    Args:
        pieces: as `merge` gives them.
    """
    newest_stored = max((piece.position for piece in pieces if piece.is_stored), default=START)
    place = START
    for piece in pieces:
        if not follows(place, piece.first):
            return Chain([], Gap.LAG if piece.first > newest_stored else Gap.LOST)
        place = piece.position
    return Chain(list(pieces))
