"""Sockets that stop reading, beside others that do not. P16."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import aiohttp
import psutil

from tests.promises.checker.evidence import Evidence
from tests.promises.checker.slow_readers import check_slow_readers
from tests.promises.checker.verdict import Verdict
from tests.promises.journal import Journal
from tests.promises.load.plan import PlannedJob
from tests.promises.load.running import Load, running_load
from tests.promises.specials.observing import observed
from tests.promises.stack.layout import Layout, Ports
from tests.promises.stack.running import RunningStack, running_stack

__all__ = ["run_slow_readers"]

_REPLICAS = {"recorder": 1, "llm-worker": 1, "notifier": 1, "gateway": 1}
_HEALTHY = 10
_SLOW = 30
_PHASE_S = 12.0
_CLOSED_WITHIN_S = 60.0
_TALKATIVE = "tokens=3000;rate=100;chars=200;ttft_ms=5"
_JOBS = 8
"""Eight jobs say 160 kB a second together; every socket follows all of them."""
_RECEIVE_BYTES = 4096


def run_slow_readers(folder: Path) -> list[Verdict]:
    """The verdict of P16."""
    return [check_slow_readers(Evidence(asyncio.run(_run(folder))))]


@dataclass(slots=True)
class _Phase:
    """What the samples belong to."""

    name: str = "none"


async def _run(folder: Path) -> Path:
    layout = Layout(folder=folder, ports=Ports.pick_for(_REPLICAS), replicas=_REPLICAS)
    journal, phase = Journal(layout.evidence / "readers.jsonl"), _Phase()
    async with (
        running_stack(layout) as stack,
        running_load(stack, seed=6) as load,
        observed(stack),
        _sockets(stack, _HEALTHY) as healthy,
    ):
        hearing = [asyncio.create_task(_hear(one, journal, phase), name="hear") for one in healthy]
        await _talk(load, first=0)
        phase.name = "before"
        await asyncio.sleep(_PHASE_S)
        async with _sockets(stack, _SLOW, receive_bytes=_RECEIVE_BYTES) as slow:
            phase.name = "beside"
            journal.write(event="slow", count=len(slow))
            await _until_closed(stack, journal, load)
        for task in hearing:
            task.cancel()
        await asyncio.gather(*hearing, return_exceptions=True)
    return layout.evidence


async def _talk(load: Load, *, first: int) -> None:
    for n in range(first, first + _JOBS):
        await load.submit_once(
            PlannedJob(number=n + 1, kind="talk", key=f"talkative-{n}", at_s=0.0, script=_TALKATIVE)
        )


async def _hear(one: aiohttp.ClientWebSocketResponse, journal: Journal, phase: _Phase) -> None:
    """How late each event is, against the moment that its worker wrote into it."""
    async for message in one:
        if message.type is not aiohttp.WSMsgType.TEXT:
            return
        frame = json.loads(message.data)
        if frame["type"] == "event" and frame["event"]["type"] == "delta":
            said = datetime.fromisoformat(frame["event"]["at"]).timestamp()
            journal.write(event="heard", phase=phase.name, late_s=time.time() - said)


async def _until_closed(stack: RunningStack, journal: Journal, load: Load) -> None:
    """The notifier lets go of all sockets but the healthy ones; seen from the outside."""
    pid, port = stack.fleet.pid("notifier-1"), stack.layout.ports.notifier
    until, talked = time.monotonic() + _CLOSED_WITHIN_S, time.monotonic()
    jobs = _JOBS
    while pid is not None and time.monotonic() < until:
        connections = psutil.Process(pid).net_connections("tcp")
        held = [c for c in connections if c.laddr.port == port and c.status == "ESTABLISHED"]
        if len(held) <= _HEALTHY:
            journal.write(event="closed")
            await asyncio.sleep(2)
            return
        if time.monotonic() - talked > 15:
            talked = time.monotonic()
            await _talk(load, first=jobs)
            jobs += _JOBS
        await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def _sockets(
    stack: RunningStack, count: int, *, receive_bytes: int | None = None
) -> AsyncIterator[list[aiohttp.ClientWebSocketResponse]]:
    """Sockets that follow everything of the tenant; with `receive_bytes` their windows are tiny."""

    def small(info: tuple[object, ...]) -> socket.socket:
        made = socket.socket(info[0], info[1], info[2])  # type: ignore[arg-type] # as aiohttp gives it
        if receive_bytes is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        return made

    connector = aiohttp.TCPConnector(limit=0, socket_factory=small)
    headers = {"Authorization": f"Bearer {stack.key()}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        found = []
        for _ in range(count):
            one = await session.ws_connect(stack.notifier, protocols=("penstock.v1.json",))
            await one.send_json({"type": "subscribe", "all": True})
            found.append(one)
        try:
            yield found
        finally:
            for one in found:
                if one._response.connection is not None:
                    one._response.close()
