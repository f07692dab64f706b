"""Does what a schedule says, when it says so, and notes what was really done."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from typing import Any, Literal

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.promises.journal import Journal, read_journal
from tests.promises.proxy.control import set_weather
from tests.promises.proxy.routes import Mode
from tests.promises.schedule import Step
from tests.promises.stack.running import RunningStack

__all__ = ["Injector"]

_DELAY_MS = 250.0
"""Added to every chunk through the proxy: slow, but below the clients' time-outs."""
_HANDLED_S = 0.5
"""What the provider has ended, its worker has handled by then."""
_FACT_S = 60.0
"""Longest wait for what a step depends on; then it comes anyway."""
_COMPLETE_KEY = "ps:epoch"
"""The mark of a whole job table in Redis."""
_DRAIN_S = 35.0
"""A stopped process has its drain time-out before it counts as stuck."""


class Injector:
    """Runs steps against a stack. The journal gets one line per fault, once it is undone."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        self._journal = Journal(stack.layout.evidence / "faults.jsonl")
        self._rebuilds = Journal(stack.layout.evidence / "rebuilds.jsonl")

    async def run(self, steps: Sequence[Step]) -> None:
        """All steps, each at its time from now; returns when the last is undone."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(self._at(step, began), name=f"fault {step.action}")

    async def one(self, step: Step) -> None:
        """One fault now."""
        since = time.time()
        await self._do(step)
        until = time.time()
        self._journal.write(action=step.action, target=step.target, since=since, until=until)
        if step.action in ("wipe", "flush"):
            await self._until_rebuilt(until)

    async def _at(self, step: Step, began: float) -> None:
        await asyncio.sleep(max(0.0, began + step.at_s - time.monotonic()))
        if step.after_calls:
            await self._until_called(step.after_kind, step.after_calls, "ended")
            await asyncio.sleep(_HANDLED_S)
        if step.amid_calls:
            await self._until_called(step.after_kind, step.amid_calls, "open")
        await self.one(step)

    async def _until_called(
        self, kind: str, count: int, which: Literal["begun", "ended", "open"]
    ) -> None:
        """Wait for a fact in the provider's log: how fast the machine is today is none."""
        path = self._stack.layout.evidence / "provider.jsonl"
        until = time.monotonic() + _FACT_S
        while time.monotonic() < until:
            lines = read_journal(path)
            over = {line["call"] for line in lines if line.get("how") == "completed"}
            calls = [line for line in lines if line["event"] == "charged"]
            mine = {call["call"] for call in calls if call["first_user"].startswith(kind)}
            found = {"begun": mine, "ended": mine & over, "open": mine - over}[which]
            if len(found) >= count:
                return
            await asyncio.sleep(0.05)

    async def _do(self, step: Step) -> None:
        fleet = self._stack.fleet
        match step.action:
            case "kill":
                await fleet.hold(step.target, signal.SIGKILL)
                await asyncio.sleep(step.for_s)
                fleet.release(step.target)
            case "wipe":
                await fleet.hold(step.target, signal.SIGKILL)
                await asyncio.sleep(step.for_s)
                fleet.release(step.target, before_start=self._stack.empty_redis)
            case "term":
                await fleet.hold(step.target, signal.SIGTERM, within_s=_DRAIN_S)
                await self._until_due(step)
                fleet.release(step.target)
            case "freeze":
                fleet.send_signal(step.target, signal.SIGSTOP)
                await self._until_due(step)
                fleet.send_signal(step.target, signal.SIGCONT)
            case "flush":
                await self._flush()
            case "disk_full":
                self._stack.fill_disk()
                await asyncio.sleep(step.for_s)
            case mode:
                await self._weather(step, Mode(mode))

    async def _until_due(self, step: Step) -> None:
        await asyncio.sleep(step.for_s)
        if step.until_begun:
            await self._until_called(step.until_kind, step.until_begun, "begun")

    async def _weather(self, step: Step, mode: Mode) -> None:
        control = self._stack.layout.ports.control
        delay_ms = _DELAY_MS if mode is Mode.DELAY else 0.0
        await set_weather(control, step.target, mode, delay_ms=delay_ms)
        if mode is not Mode.RESET:
            await asyncio.sleep(step.for_s)
            await set_weather(control, step.target, Mode.PASS)

    async def _flush(self) -> None:
        async with asyncio.timeout(20):
            while not await self._redis("FLUSHALL"):  # noqa: ASYNC110 - it may be down just now
                await asyncio.sleep(0.2)

    async def _until_rebuilt(self, since: float) -> None:
        """Note how long it takes until the recorder calls the job table complete again."""
        until = since + _FACT_S
        while time.time() < until:
            if await self._redis("EXISTS", _COMPLETE_KEY):
                self._rebuilds.write(took_s=time.time() - since)
                return
            await asyncio.sleep(0.1)
        self._rebuilds.write(took_s=None)

    async def _redis(self, *command: str) -> Any:
        """The answer, past the proxy; None while nobody answers."""
        client = Redis(port=self._stack.layout.ports.redis_direct, socket_timeout=2)
        try:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call] # theirs
        except (OSError, RedisError):
            return None
        finally:
            await client.aclose()
