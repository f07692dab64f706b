"""All special situations by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.promises.checker.verdict import Verdict
from tests.promises.specials.overload import run_overload
from tests.promises.specials.quiet import run_quiet
from tests.promises.specials.rolling import run_rolling
from tests.promises.specials.slow_readers import run_slow_readers
from tests.promises.specials.storm import run_storm
from tests.promises.specials.stuck import run_stuck
from tests.promises.specials.tenants import run_tenants

__all__ = ["SPECIALS"]

SPECIALS: Mapping[str, Callable[[Path], list[Verdict]]] = {
    "quiet": run_quiet,
    "rolling": run_rolling,
    "storm": run_storm,
    "tenants": run_tenants,
    "overload": run_overload,
    "slow-readers": run_slow_readers,
    "stuck": run_stuck,
}
