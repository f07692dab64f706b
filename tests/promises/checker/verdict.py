"""What the checker says of one promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Verdict", "judged"]

_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One line of the table. `is_kept` None: there was nothing to judge it by."""

    promise: str
    claim: str
    figure: str
    is_kept: bool | None
    offenders: tuple[str, ...] = ()


def judged(promise: str, claim: str, figure: str, offenders: Sequence[str], *, of: int) -> Verdict:
    """Kept if nobody offends; not judged if there were no cases (`of`)."""
    return Verdict(
        promise=promise,
        claim=claim,
        figure=figure,
        is_kept=not offenders if of or offenders else None,
        offenders=tuple(offenders[:_SHOWN]),
    )
