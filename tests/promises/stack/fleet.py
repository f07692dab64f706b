"""Keeps processes running, and lets the rig kill, freeze and hold them. Every change is noted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from penstock.dev.process import ProcessSpec, last_lines, signal_group, spawn

from tests.promises.journal import Journal

__all__ = ["Fleet", "NotReady"]

_POLL_S = 0.05
_RESTART_S = 0.3
"""Pause before a process that ended by itself is started again, as a supervisor would."""


class NotReady(Exception):
    """A process of the stack did not come up."""


@dataclass(slots=True)
class _Member:
    spec: ProcessSpec
    process: subprocess.Popen[bytes] | None = None
    is_wanted: bool = True
    is_frozen: bool = False
    keeper: asyncio.Task[None] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    before_start: Callable[[], None] | None = None


class Fleet:
    """All processes by label (`llm-worker-2`). What dies unasked is started again.

    The journal gets `start`, `ready`, `signal` and `exit` with label and pid: the checker's kill
    log. Use it on the main thread: children die with it.
    """

    def __init__(self, journal: Journal) -> None:
        self._members: dict[str, _Member] = {}
        self._journal = journal

    @property
    def labels(self) -> list[str]:
        """Everybody."""
        return list(self._members)

    def pid(self, label: str) -> int | None:
        """The present process; None while there is none."""
        process = self._members[label].process
        return process.pid if process is not None and process.poll() is None else None

    async def start(self, specs: Sequence[tuple[str, ProcessSpec]]) -> None:
        """Start processes at once and wait until all are ready.

        Raises:
            NotReady: with the end of the log.
        """
        for label, spec in specs:
            member = self._members[label] = _Member(spec)
            member.keeper = asyncio.create_task(self._keep(label, member), name=f"keep {label}")
        for label, _ in specs:
            await self.wait_ready(label, within_s=240)

    async def wait_ready(self, label: str, *, within_s: float) -> None:
        """Return when the process answers its probe."""
        member = self._members[label]
        try:
            async with asyncio.timeout(within_s):
                await member.ready.wait()
        except TimeoutError:
            tail = last_lines(member.spec.log)
            raise NotReady(f"{label} is not ready after {within_s:.0f} s:\n{tail}") from None

    def send_signal(self, label: str, number: signal.Signals) -> bool:
        """Signal the process; False if there is none."""
        member, pid = self._members[label], self.pid(label)
        if pid is None:
            return False
        self._journal.write(event="signal", label=label, pid=pid, signal=number.name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        member.is_frozen = number is signal.SIGSTOP
        return True

    async def hold(self, label: str, number: signal.Signals, *, within_s: float = 40.0) -> None:
        """End the process and do not start it again; SIGKILL after `within_s`."""
        member = self._members[label]
        member.is_wanted = False
        self.send_signal(label, number)
        await self._gone(member, within_s)

    def release(self, label: str, *, before_start: Callable[[], None] | None = None) -> None:
        """Start it again."""
        member = self._members[label]
        if member.is_wanted:
            return
        member.is_wanted, member.before_start = True, before_start
        member.keeper = asyncio.create_task(self._keep(label, member), name=f"keep {label}")

    async def stop(self, labels: Sequence[str] | None = None, *, within_s: float = 3.0) -> None:
        """End everybody, the last started first."""
        for label in reversed(labels or self.labels):
            if self._members[label].is_frozen:
                self.send_signal(label, signal.SIGCONT)
        await asyncio.gather(
            *(
                self.hold(label, signal.SIGTERM, within_s=within_s)
                for label in (labels or self.labels)
            )
        )

    async def _gone(self, member: _Member, within_s: float) -> None:
        if member.keeper is not None:
            done, _ = await asyncio.wait({member.keeper}, timeout=within_s)
            if not done and member.process is not None:
                signal_group(member.process.pid, signal.SIGKILL)
                await member.keeper
        member.process = None

    async def _keep(self, label: str, member: _Member) -> None:
        while member.is_wanted:
            await self._live_once(label, member)
            if member.is_wanted:
                await asyncio.sleep(_RESTART_S)

    async def _live_once(self, label: str, member: _Member) -> None:
        if member.before_start is not None:
            member.before_start()
            member.before_start = None
        process = member.process = spawn(member.spec)
        self._journal.write(event="start", label=label, pid=process.pid)
        probe = asyncio.create_task(self._probe(label, member), name=f"probe {label}")
        while process.poll() is None:  # noqa: ASYNC110 - portable: no loop tells of a child's end
            await asyncio.sleep(_POLL_S)
        probe.cancel()
        member.ready.clear()
        member.is_frozen = False
        signal_group(process.pid, signal.SIGKILL)
        self._journal.write(
            event="exit",
            label=label,
            pid=process.pid,
            status=process.returncode,
            wanted=member.is_wanted,
        )

    async def _probe(self, label: str, member: _Member) -> None:
        began = time.monotonic()
        while not await asyncio.to_thread(member.spec.is_ready):  # noqa: ASYNC110 - see above
            await asyncio.sleep(_POLL_S * 2)
        member.ready.set()
        took_s = round(time.monotonic() - began, 2)
        self._journal.write(event="ready", label=label, pid=self.pid(label), took_s=took_s)
