"""How facets lie in the job hash: the one place that knows its fields, beside `lua/fold.lua`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson
from penstock_contracts.events import JobStatus, Position

from penstock_kit.jobs.facets import Ending, Facets, Meta, Progress, Start

__all__ = ["EPOCH_KEY", "FACET_FIELDS", "TENANTS_KEY", "facets_of", "starts_text"]

EPOCH_KEY = "ps:epoch"
"""Set once the table is complete. Absent: Redis came up empty, and the recorder rebuilds the
table."""
TENANTS_KEY = "ps:tenants"
"""Set of tenants that have jobs; the sweeper walks over it."""

FACET_FIELDS = (
    "m_rank", "m_ms", "user", "meta",
    "p_attempt", "p_seq", "p_status", "progress", "p_until",
    "starts", "ends", "e_part", "e_off", "end",
    "started", "attempt", "seq", "output", "deleted", "crashes",
)  # fmt: skip
"""The order in which `fold.lua` replies and readers ask."""


def facets_of(fields: Sequence[bytes | None]) -> Facets:
    """The facets behind the values of `FACET_FIELDS`; a job that is not there has none."""
    (
        m_rank, m_ms, user, meta,
        p_attempt, p_seq, p_status, progress, p_until,
        starts, ends, e_part, e_off, end,
        started, attempt, seq, output, deleted, crashes,
    ) = fields  # fmt: skip
    counts = None if e_part is None else (int(e_part), int(e_off or 0))
    return Facets(
        meta=None
        if m_rank is None
        else Meta(int(m_rank), int(m_ms or 0), user.decode() if user else None, meta or b"{}"),
        progress=None
        if p_attempt is None
        else Progress(
            _position(p_attempt, p_seq),
            JobStatus((p_status or b"").decode()),
            progress or b"{}",
            int(p_until or 0),
        ),
        starts=_parse_starts(starts or b""),
        endings=tuple(_endings(ends or b"[]", counts, end or b"{}")),
        started_ms=None if started is None else int(started),
        top=_position(attempt, seq),
        has_output=output == b"1",
        deleted_ms=None if deleted is None else int(deleted),
        crashes=int(crashes or 0),
    )


def starts_text(starts: Sequence[Start]) -> str:
    """Starts as they lie in the hash."""
    return " ".join(f"{start.partition}:{start.offset}:{start.attempt}" for start in starts)


def _parse_starts(text: bytes) -> tuple[Start, ...]:
    """The inverse of `starts_text`."""
    return tuple(Start(*map(int, start.split(b":"))) for start in text.split())


def _endings(raw: bytes, counts: tuple[int, int] | None, event: bytes) -> Iterator[Ending]:
    """All endings; only the one that counts has its event here."""
    for partition, offset, attempt, seq, status, body in orjson.loads(raw):
        yield Ending(
            int(partition),
            int(offset),
            Position(int(attempt), int(seq)),
            JobStatus(status),
            body.encode(),
            event if (partition, offset) == counts else b"",
        )


def _position(attempt: bytes | None, seq: bytes | None) -> Position:
    return Position(int(attempt or 0), int(seq or 0))
