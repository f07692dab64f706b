"""A switch that no longer finds what it breaks must say so here, not in the nightly run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.promises.sabotage.scenarios import SCENARIOS
from tests.promises.sabotage.switches import SWITCHES

ROOT = Path(__file__).parents[3]


def test_switches_when_listed_then_at_least_twelve_with_known_scenarios() -> None:
    assert len(SWITCHES) >= 12
    assert {switch.scenario for switch in SWITCHES.values()} <= set(SCENARIOS)


@pytest.mark.parametrize("name", sorted(SWITCHES))
def test_switch_when_applied_then_finds_what_it_breaks(name: str) -> None:
    program = (
        "from tests.promises.sabotage.switches import SWITCHES\n"
        f"switch = SWITCHES[{name!r}]\n"
        "for service in switch.services: switch.apply(service)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
