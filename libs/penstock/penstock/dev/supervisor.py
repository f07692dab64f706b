"""Starts groups of processes in order, keeps them, and ends all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from penstock_kit.clock import Clock

from penstock.dev.keeper import Keeper, Unit
from penstock.dev.state import Phase, StackState

__all__ = ["Supervisor"]


class Supervisor:
    """All keepers of a stack, in the order in which they were started.

    `state` is the file that other programs read; it is replaced at every change.
    """

    def __init__(self, *, run: Path, state: Path, pid: int, clock: Clock) -> None:
        self._run = run
        self._state = state
        self._pid = pid
        self._clock = clock
        self._started_at: datetime = clock.now()
        self._phase = Phase.STARTING
        self._message = ""
        self._stages: list[list[Keeper]] = []

    def enter(self, phase: Phase, message: str = "") -> None:
        """Note where the stack stands."""
        self._phase, self._message = phase, message
        self._publish()

    async def start(self, units: Sequence[Unit]) -> None:
        """Start one stage, all units at once; return when all are ready. Stages may overlap.

        Raises:
            NotReady: the first that failed; the others go on until `stop`.
        """
        stage = [
            Keeper(
                unit,
                pid_file=self._run / f"{unit.label}.pid",
                clock=self._clock,
                on_change=self._publish,
            )
            for unit in units
        ]
        self._stages.append(stage)
        await asyncio.gather(*(keeper.start() for keeper in stage))

    async def stop(self, *, services_s: float, servers_s: float) -> None:
        """End everything: the last stage first, with `services_s`; the earlier ones together."""
        *servers, services = self._stages or [[]]
        await _stop_all(services, services_s)
        await _stop_all([keeper for stage in servers for keeper in stage], servers_s)

    def _publish(self) -> None:
        StackState(
            phase=self._phase,
            message=self._message,
            supervisor=self._pid,
            started_at=self._started_at,
            processes=[keeper.view for stage in self._stages for keeper in stage],
        ).write(self._state)


async def _stop_all(keepers: Sequence[Keeper], timeout_s: float) -> None:
    await asyncio.gather(*(keeper.stop(timeout_s) for keeper in keepers))
