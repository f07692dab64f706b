"""The worker core keeps its promises under seeded chaos, and the chaos finds what breaks them.

More seeds: `make simulate SEEDS=2000`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from penstock_kit.lanes.handover import Handover
from penstock_kit.lanes.keys import Entry, Partition
from penstock_kit.lanes.rules import Held
from penstock_kit.lanes.runner import Runner
from penstock_kit.lanes.tenants import Shares
from penstock_kit.lanes.tracker import OffsetTracker, Slot
from penstock_kit.lanes.window import Window

from tests.support.lanes_simulation import simulate
from tests.support.simulated_kafka import Broken

SEEDS = 150
SABOTAGE_SEEDS = 300


def test_simulation_when_many_seeds_then_every_promise_holds() -> None:
    simulate(0, SEEDS)


def commit_over_gaps(tracker: OffsetTracker, slot: Slot) -> None:
    slot.is_finished = True
    if slot in tracker._slots:
        tracker._slots.remove(slot)
    tracker.position = max(tracker.position, slot.offset + 1)


def forget_the_record(window: Window, entry: Entry) -> bool:
    window._leave(entry)
    window.release(entry.queue)
    return False


def rest_only_while_open(runner: Runner, pause: timedelta, entry: Entry) -> None:
    if runner.is_open:
        kept_again_in(runner, pause, entry)
    else:
        runner._window.put_back(entry)


kept_again_in = Runner._again_in

SABOTAGES: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "commit over gaps": (OffsetTracker, "finish", commit_over_gaps),
    "keys do not wait for handlers of before": (Handover, "wait_for_earlier", lambda *_: None),
    "no gate": (Partition, "may_start", lambda *_: True),
    "no tenant cap": (Shares, "is_capped", lambda *_: False),
    "rules are not asked": (Held, "lets_start", lambda *_: True),
    "limits are not counted": (Held, "_full", lambda *_: None),
    "held keys are forgotten": (Held, "judge_again", lambda *_: None),
    "a failed record is forgotten": (Window, "put_back", forget_the_record),
    "keys that fail during a pause are forgotten": (Runner, "_again_in", rest_only_while_open),
    "gated keys are forgotten": (Window, "open_gate", lambda *_: None),
    "old keys run on after a revocation": (Partition, "drop_queued", lambda *_: None),
}


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_simulation_when_the_core_is_sabotaged_then_a_seed_finds_it(
    sabotage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, broken = SABOTAGES[sabotage]
    monkeypatch.setattr(owner, name, broken)

    with pytest.raises(Broken, match="seed"):
        simulate(0, SABOTAGE_SEEDS)
