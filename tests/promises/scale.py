"""How large a run is. The promises are the same at every scale; the figures say which it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SCALES", "Scale"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Factors over the schedule's deck and the load's mix."""

    about: str
    load_s: float
    jobs: float
    faults: float


SCALES: Mapping[str, Scale] = {
    "ci": Scale(
        about="about 1,100 jobs and 22 faults (14 SIGKILLs) per seed in 60 s",
        load_s=60.0,
        jobs=1.0,
        faults=1.0,
    ),
    "full": Scale(
        about="about 10,000 jobs and 70 faults (42 SIGKILLs) per seed in 240 s",
        load_s=240.0,
        jobs=9.0,
        faults=3.0,
    ),
}
