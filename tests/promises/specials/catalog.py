"""All special situations by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.promises.checker.verdict import Verdict
from tests.promises.specials.overload import run_overload
from tests.promises.specials.quiet import run_quiet, run_soak
from tests.promises.specials.rolling import run_rolling
from tests.promises.specials.slow_readers import run_slow_readers
from tests.promises.specials.storm import run_storm
from tests.promises.specials.stuck import run_stuck
from tests.promises.specials.tenants import run_tenants

__all__ = ["SPECIALS", "Special"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Special:
    """A situation, and how it goes with others.

    Attributes:
        is_timed: latencies are judged, so it has the machine for itself.
        is_long: only on request.
    """

    run: Callable[[Path], list[Verdict]]
    is_timed: bool = False
    is_long: bool = False


SPECIALS: Mapping[str, Special] = {
    "stuck": Special(run=run_stuck),
    "rolling": Special(run=run_rolling),
    "storm": Special(run=run_storm),
    "quiet": Special(run=run_quiet),
    "soak": Special(run=run_soak, is_long=True),
    "tenants": Special(run=run_tenants, is_timed=True),
    "overload": Special(run=run_overload, is_timed=True),
    "slow-readers": Special(run=run_slow_readers, is_timed=True),
}
