"""Ratios of interleaved runs, with an interval: a win is claimed only where it excludes 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import median

__all__ = ["Ratio", "ratio_of"]

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of per-pair ratios and its 95 % bootstrap interval."""

    middle: float
    low: float
    high: float

    def verdict(self, *, less_is_better: bool) -> str:
        """`wins`, `loses` or `even`."""
        if self.low <= 1 <= self.high:
            return "even"
        return "wins" if (self.high < 1) == less_is_better else "loses"


def ratio_of(ours: Sequence[float], peer: Sequence[float]) -> Ratio:
    """Ours divided by the peer's, pair by pair; both from the same rounds."""
    pairs = [mine / theirs for mine, theirs in zip(ours, peer, strict=True)]
    random = Random(1)
    middles = sorted(median(random.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES))
    return Ratio(median(pairs), middles[int(0.025 * _RESAMPLES)], middles[int(0.975 * _RESAMPLES)])
