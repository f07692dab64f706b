"""Keeps one process running: starts it again when it dies, and says why it died."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from penstock_kit.clock import Clock

from penstock.dev.errors import NotReady
from penstock.dev.process import ProcessSpec, last_lines, signal_group, spawn
from penstock.dev.state import ProcessState, ProcessView

__all__ = ["Keeper", "Unit", "describe_end", "restart_pause_s"]

_POLL_S = 0.05
"""How often we look whether a process lives or is ready."""
_STEADY_S = 20.0
"""A process that lived so long starts again at once; one that died sooner waits ever longer."""
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_DEATHS_BEFORE_GIVING_UP = 3
"""At the first start only: what dies three times without being ready will not become ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One replica of one process; `number` counts from 1."""

    number: int
    spec: ProcessSpec

    @property
    def label(self) -> str:
        """`<name>-<n>`, as in its log and pid file."""
        return f"{self.spec.name}-{self.number}"


def restart_pause_s(deaths: int) -> float:
    """Seconds before the next start after so many deaths in a row: none, 0.5, 1, 2, 4, 8, 10."""
    if deaths <= 1:
        return 0.0
    return float(min(_FIRST_PAUSE_S * 2 ** (deaths - 2), _LONGEST_PAUSE_S))


def describe_end(returncode: int) -> str:
    """Why a process ended, in words."""
    if returncode >= 0:
        return f"ended with status {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"


class Keeper:
    """Runs one unit until it is stopped; on the main thread's loop, to which children are tied."""

    def __init__(
        self, unit: Unit, *, pid_file: Path, clock: Clock, on_change: Callable[[], None]
    ) -> None:
        self.unit = unit
        self._pid_file = pid_file
        self._clock = clock
        self._on_change = on_change
        self._process: subprocess.Popen[bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._restarts = 0
        self._state = ProcessState.STARTING
        self._since = clock.now()
        self._why: str | None = None

    @property
    def view(self) -> ProcessView:
        """What `penstock status` shows."""
        return ProcessView(
            name=self.unit.spec.name,
            number=self.unit.number,
            state=self._state,
            pid=self._process.pid if self._process is not None else None,
            restarts=self._restarts,
            since=self._since,
            why=self._why,
        )

    async def start(self) -> None:
        """Start keeping; return when the process is ready for the first time.

        Raises:
            NotReady: it died again and again, or was not ready in time. It is not kept any longer.
        """
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.unit.label}")
        try:
            async with asyncio.timeout(self.unit.spec.start_timeout_s):
                await asyncio.shield(self._first_ready)
        except TimeoutError:
            raise NotReady(
                f"{self.unit.label} was not ready within {self.unit.spec.start_timeout_s:.0f} s:\n"
                f"{last_lines(self.unit.spec.log)}\n",
                hint=f"read {self.unit.spec.log}",
            ) from None

    async def stop(self, timeout_s: float) -> None:
        """End it: SIGTERM, a second one near the end of the time, then SIGKILL. Works twice."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            for part in (0.8, 0.2):
                process.terminate()
                await _exited(process, timeout_s * part)
            signal_group(process.pid, signal.SIGKILL)
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._note(ProcessState.STOPPED)

    async def _keep(self) -> None:
        deaths = 0
        while not self._stopping.is_set():
            began = self._clock.monotonic()
            ended = await self._run_once()
            if self._stopping.is_set():
                return
            lived_s = self._clock.monotonic() - began
            deaths = 1 if lived_s > _STEADY_S else deaths + 1
            self._why = ended
            if deaths >= _DEATHS_BEFORE_GIVING_UP and not self._first_ready.done():
                self._give_up(ended)
                return
            self._restarts += 1
            self._note(ProcessState.RESTARTING)
            await _happens(self._stopping, within_s=restart_pause_s(deaths))

    async def _run_once(self) -> str:
        """One life of the process; returns why it ended."""
        try:
            process = self._process = spawn(self.unit.spec)
        except OSError as error:
            return f"could not be started: {error}"
        self._pid_file.write_text(f"{process.pid}\n")
        self._note(ProcessState.STARTING)
        readiness = asyncio.create_task(self._watch_readiness(), name=f"probe {self.unit.label}")
        try:
            await _exited(process, None)
        finally:
            readiness.cancel()
            await asyncio.wait({readiness})
            # What the process started itself dies with it.
            signal_group(process.pid, signal.SIGKILL)
            self._pid_file.unlink(missing_ok=True)
        return describe_end(process.returncode)

    async def _watch_readiness(self) -> None:
        # A probe has no event that it could set.
        while not await asyncio.to_thread(self.unit.spec.is_ready):  # noqa: ASYNC110 - see above
            await asyncio.sleep(_POLL_S)
        self._note(ProcessState.READY)
        if not self._first_ready.done():
            self._first_ready.set_result(None)

    def _give_up(self, ended: str) -> None:
        self._note(ProcessState.STOPPED)
        log = self.unit.spec.log
        self._first_ready.set_exception(
            NotReady(
                f"{self.unit.label} {ended} while starting, {_DEATHS_BEFORE_GIVING_UP} times:\n"
                f"{last_lines(log)}\n",
                hint=f"read {log}",
            )
        )

    def _note(self, state: ProcessState) -> None:
        self._state = state
        self._since = self._clock.now()
        self._on_change()


async def _exited(process: subprocess.Popen[bytes], timeout_s: float | None) -> None:
    """Return when the process has ended, or the time is up."""
    loop = asyncio.get_running_loop()
    deadline = None if timeout_s is None else loop.time() + timeout_s
    # Portable: not every system can wake a loop when a child ends.
    while process.poll() is None and (  # noqa: ASYNC110 - see above
        deadline is None or loop.time() < deadline
    ):
        await asyncio.sleep(_POLL_S)


async def _happens(event: asyncio.Event, *, within_s: float) -> None:
    if within_s <= 0:
        return
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return
