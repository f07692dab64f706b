"""The past of a stream: from the ring if that is enough, else Redis, else an honest snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from penstock_contracts.events import JobStatus, Position
from penstock_contracts.snapshot import Snapshot
from penstock_contracts.state import JobState

from penstock_kit.jobs.view import JobTable, StoredEvent, TableAway
from penstock_kit.streams.history import START, Chain, Gap, Piece, chain, merge, whole
from penstock_kit.streams.snapshots import snapshot_of
from penstock_kit.tail.hub import LiveEvents
from penstock_kit.tail.tailed import TailedEvent
from penstock_kit.tenancy import TenantScope

__all__ = ["Opening", "Past"]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Opening:
    """How a stream begins; see `Joined`. `backlog` grows until the stream is live."""

    position: Position
    snapshot: Snapshot | None = None
    recovered: bool = field(kw_only=True)
    backlog: list[TailedEvent] = field(default_factory=list)
    has_ended: bool = False

    @property
    def last(self) -> Position:
        """The newest place that the opening covers."""
        return self.backlog[-1].position if self.backlog else self.position

    @property
    def is_over(self) -> bool:
        """Whether the job has ended in it: nothing follows."""
        if self.has_ended or (self.backlog and self.backlog[-1].is_terminal):
            return True
        return self.snapshot is not None and self.snapshot.status.is_terminal


@dataclass(frozen=True, slots=True)
class _Known:
    """All that could be found out about a job."""

    pieces: list[Piece]
    state: JobState | None = None
    is_asked: bool = False
    """Whether Redis has answered."""

    @property
    def newest(self) -> Position | None:
        return None if self.state is None else Position(self.state.attempt, self.state.seq)


class Past:
    """Finds out how a stream begins."""

    def __init__(self, live: LiveEvents, table: JobTable, *, lag_pauses_s: Sequence[float]) -> None:
        self._live = live
        self._table = table
        self._lag_pauses_s = lag_pauses_s

    async def read(self, scope: TenantScope, job: str, after: Position | None) -> Opening:
        """The begin of a stream after a place, or of all that is known if `after` is None."""
        return await self._find(scope, job, after, _open_at_start if after is None else _resume)

    async def read_whole(self, scope: TenantScope, job: str) -> Opening:
        """All that is kept from the begin on, as a backlog; older deltas in it may be merged."""
        return await self._find(scope, job, START, _open_whole)

    async def _find(
        self, scope: TenantScope, job: str, after: Position | None, opener: _Opener
    ) -> Opening:
        ring = self._ring(scope, job)
        if ring and not _has_loose_end(ring, after):
            opening, _ = opener(scope, job, after, _Known(ring))
            if opening is not None:
                return opening
        known = _Known(ring)
        for pause_s in (0.0, *self._lag_pauses_s):
            if pause_s:
                await asyncio.sleep(pause_s)
            try:
                known = await self._ask(scope, job)
            except TableAway:
                log.warning("stream.table_away", job=job)
                break
            if _is_end_in_doubt(known, after):
                continue
            opening, gap = opener(scope, job, after, known)
            if opening is not None:
                return opening
            if gap is Gap.LOST:
                break
        return _give_up(job, known)

    async def _ask(self, scope: TenantScope, job: str) -> _Known:
        # In this order each is at least as new as the one before: what a state tells of is in the
        # events, and what the recorder had not folded a moment ago is in the ring.
        state = await self._table.get(scope, job)
        stored = await self._table.events(scope, job)
        pieces = merge((_from_table(event) for event in stored), self._ring(scope, job))
        return _Known(pieces, state, is_asked=True)

    def _ring(self, scope: TenantScope, job: str) -> list[Piece]:
        return [
            Piece(event.position, event.position, event.type, event.value)
            for event in self._live.recent(scope, job)
        ]


def _has_loose_end(pieces: Sequence[Piece], after: Position | None) -> bool:
    """Whether the ring has an end, but not all that was in the log before it since `after`.

    The start of a later attempt may be among what it lacks: then the end does not count.
    """
    first = pieces[0].position
    is_anchored = first.attempt == 0 or first == (1, 1) or (after is not None and first <= after)
    return _is_ended(pieces) and not is_anchored


def _is_end_in_doubt(known: _Known, after: Position | None) -> bool:
    """Whether the end is known from the ring alone, and the table has not folded so far yet."""
    is_told = known.state is not None and known.state.status.is_terminal
    return bool(known.pieces) and not is_told and _has_loose_end(known.pieces, after)


_Opener = Callable[[TenantScope, str, Position | None, _Known], tuple[Opening | None, Gap | None]]
"""Makes an opening of what is known, or says why it cannot."""


def _open_at_start(
    _scope: TenantScope, job: str, _after: Position | None, known: _Known
) -> tuple[Opening | None, Gap | None]:
    if not known.pieces and known.state is None and not known.is_asked:
        return None, Gap.LAG
    found = snapshot_of(job, known.pieces, known.state)
    if found.gap is not None:
        return None, found.gap
    return Opening(found.snapshot.position, found.snapshot, recovered=True), None


def _resume(
    scope: TenantScope, job: str, after: Position | None, known: _Known
) -> tuple[Opening | None, Gap | None]:
    assert after is not None, "who has no place begins at the start"
    return _linked(scope, job, after, known, chain(after, known.pieces, known=known.newest))


def _open_whole(
    scope: TenantScope, job: str, _after: Position | None, known: _Known
) -> tuple[Opening | None, Gap | None]:
    return _linked(scope, job, START, known, whole(known.pieces))


def _linked(
    scope: TenantScope, job: str, after: Position, known: _Known, links: Chain
) -> tuple[Opening | None, Gap | None]:
    if links.gap is not None:
        return None, links.gap
    newest = links.pieces[-1].position if links.pieces else after
    if known.newest is not None and known.newest > newest and not _is_ended(links.pieces):
        return None, Gap.LAG
    backlog = [
        TailedEvent(job, piece.position, piece.type, scope.tenant, scope.user, piece.value)
        for piece in links.pieces
    ]
    has_ended = not backlog and _has_seen_the_end(after, known)
    return Opening(after, recovered=True, backlog=backlog, has_ended=has_ended), None


def _is_ended(pieces: Sequence[Piece]) -> bool:
    return bool(pieces) and pieces[-1].is_terminal


def _has_seen_the_end(after: Position, known: _Known) -> bool:
    if _is_ended(known.pieces):
        return known.pieces[-1].position == after
    return known.state is not None and known.state.status.is_terminal and known.newest == after


def _give_up(job: str, known: _Known) -> Opening:
    """What can be said for sure: a snapshot, with `recovered` False."""
    if not known.pieces and known.state is None:
        nothing = Snapshot(job=job, status=JobStatus.QUEUED, attempt=0, seq=0)
        return Opening(START, nothing, recovered=False)
    snapshot = snapshot_of(job, known.pieces, known.state).snapshot
    return Opening(snapshot.position, snapshot, recovered=False)


def _from_table(event: StoredEvent) -> Piece:
    return Piece(
        event.first or event.position, event.position, event.type, event.value, is_stored=True
    )
