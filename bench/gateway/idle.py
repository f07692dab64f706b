"""What one that waits costs: memory of the gateway per stream, of the notifier per socket."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.gateway.broadcasters import notifier
from bench.gateway.fan_out import socket_order
from bench.gateway.load import LoadFailed, run_load
from bench.gateway.proxies import provider_file
from bench.gateway.rounds import OURS, Effort, Run, figures_of, run_rounds
from bench.gateway.table import Part
from bench.gateway.usage import resident_bytes
from bench.rows import Row
from bench.stack import MODEL, Stack, stack_on
from tests.support.provider_process import fake_provider

__all__ = ["measure_sockets", "measure_streams"]

_STREAMS, _STREAM_KIB = 1000, 40
_SOCKETS, _SOCKET_KIB = 10_000, 20
_WARM = 100
"""Opened and closed before: what the first ones load is nobody's cost."""
_SETTLING_S = 3
_STREAMS_PER_S = 60
"""Slow enough for two cores to run the jobs behind them."""


def measure_streams(effort: Effort) -> Part:
    """Chat streams that have begun and whose provider then says nothing for minutes."""
    notes: list[str] = []
    with TemporaryDirectory(prefix="penstock-bench-") as name:
        folder = Path(name)
        with fake_provider(folder, script="ttft_ms=20;hang=2;tokens=10") as provider:
            rounds = run_rounds(
                {OURS: partial(_streams, provider.base_url, folder)},
                rounds=_rounds(effort),
                what="idle streams",
                notes=notes,
            )
    title = f"{_STREAMS:,} idle resumable streams: memory of the gateway, each"
    ours = [run["kib_each"] for run in rounds.get(OURS, [])]
    targets = [Row.at_most(title, "KiB", ours, _STREAM_KIB)] if ours else []
    return Part(targets, figures=figures_of(rounds), notes=notes)


def measure_sockets(effort: Effort) -> Part:
    """Sockets that follow a job to which nothing happens."""
    notes: list[str] = []
    with TemporaryDirectory(prefix="penstock-bench-") as name:
        rounds = run_rounds(
            {OURS: partial(_sockets, Path(name))},
            rounds=_rounds(effort),
            what="idle sockets",
            notes=notes,
        )
    title = f"{_SOCKETS:,} idle sockets: memory of the notifier, each"
    ours = [run["kib_each"] for run in rounds.get(OURS, [])]
    targets = [Row.at_most(title, "KiB", ours, _SOCKET_KIB)] if ours else []
    return Part(targets, figures=figures_of(rounds), notes=notes)


def _rounds(effort: Effort) -> int:
    """Memory varies little from run to run."""
    return min(effort.rounds, 3)


def _streams(provider: str, folder: Path) -> Run:
    with (
        TemporaryDirectory(dir=folder) as scratch,
        stack_on(
            Path(scratch) / "stack",
            provider_file(Path(scratch), provider, idle_timeout_s=300),
            replicas="embedder=0,notifier=0",
            env={"PENSTOCK_LLM_WORKER__MAX_IN_FLIGHT": "2048"},
        ) as stack,
    ):
        gateway = stack.pid("gateway")
        _held("readers", _stream_order(stack, _WARM, "warm"), gateway)
        return _growth("readers", _stream_order(stack, _STREAMS, "idle"), gateway, _STREAMS)


def _stream_order(stack: Stack, streams: int, name: str) -> Mapping[str, Any]:
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "{n}"}]}
    return {
        "method": "POST",
        "url": f"{stack.gateway}/v1/chat/completions",
        "headers": {
            "authorization": f"Bearer {stack.api_key}",
            "content-type": "application/json",
            "idempotency-key": f"{name}-{{n}}",
        },
        "body": json.dumps(body),
        "readers": streams,
        "rate": _STREAMS_PER_S,
    }


def _sockets(folder: Path) -> Run:
    with TemporaryDirectory(dir=folder) as scratch, notifier(Path(scratch)) as side:
        (pid,) = side.own.values()
        warm_up = socket_order(side, sockets=_WARM)
        _held("sockets", warm_up, pid)
        return _growth("sockets", socket_order(side, sockets=_SOCKETS), pid, _SOCKETS)


def _growth(command: str, order: Mapping[str, Any], pid: int, count: int) -> Run:
    time.sleep(_SETTLING_S)
    before = resident_bytes(pid)
    during, result = _held(command, order, pid)
    if result["held"] < count:
        raise LoadFailed(f"only {result['held']} of {count} stayed: {result['failures']}")
    return {
        "kib_each": (during - before) / count / 1024,
        "before_mb": before / 1e6,
        "during_mb": during / 1e6,
    }


def _held(command: str, order: Mapping[str, Any], pid: int) -> tuple[int, Mapping[str, Any]]:
    """Resident bytes once all are open and have been silent for a while, and what was held."""
    settled = {**order, "warm_up_s": 0, "seconds": _SETTLING_S}
    loaded = run_load(command, settled, trees={"server": pid})
    return loaded.usage.resident["server"], loaded.result
