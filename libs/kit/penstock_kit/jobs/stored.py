"""How facets lie in the job hash: the one place that knows its fields, beside `lua/fold.lua`."""

from __future__ import annotations

from collections.abc import Sequence

from penstock_contracts.events import JobStatus, Position

from penstock_kit.jobs.facets import Ending, Facets, Meta, Progress

__all__ = ["EPOCH_KEY", "FACET_FIELDS", "TENANTS_KEY", "facets_of"]

EPOCH_KEY = "ps:epoch"
"""Set once the table is complete. Absent: Redis came up empty, and the recorder rebuilds the
table."""
TENANTS_KEY = "ps:tenants"
"""Set of tenants that have jobs; the sweeper walks over it."""

FACET_FIELDS = (
    "m_rank", "m_ms", "user", "meta",
    "p_attempt", "p_seq", "p_status", "progress",
    "e_part", "e_off", "e_attempt", "e_seq", "e_status", "ending", "end",
    "started", "attempt", "seq", "output",
)  # fmt: skip
"""The order in which `fold.lua` replies and readers ask."""


def facets_of(fields: Sequence[bytes | None]) -> Facets:
    """The facets behind the values of `FACET_FIELDS`; a job that is not there has none."""
    (
        m_rank, m_ms, user, meta,
        p_attempt, p_seq, p_status, progress,
        e_part, e_off, e_attempt, e_seq, e_status, ending, end,
        started, attempt, seq, output,
    ) = fields  # fmt: skip
    return Facets(
        meta=None
        if m_rank is None
        else Meta(int(m_rank), int(m_ms or 0), user.decode() if user else None, meta or b"{}"),
        progress=None
        if p_attempt is None
        else Progress(_position(p_attempt, p_seq), _status(p_status), progress or b"{}"),
        ending=None
        if e_part is None
        else Ending(
            int(e_part),
            int(e_off or 0),
            _position(e_attempt, e_seq),
            _status(e_status),
            ending or b"{}",
            end or b"{}",
        ),
        started_ms=None if started is None else int(started),
        top=_position(attempt, seq),
        has_output=output == b"1",
    )


def _position(attempt: bytes | None, seq: bytes | None) -> Position:
    return Position(int(attempt or 0), int(seq or 0))


def _status(text: bytes | None) -> JobStatus:
    return JobStatus((text or b"").decode())
