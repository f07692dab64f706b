"""Streaming chat through Kafka beside proxies that keep nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.gateway.load import run_load
from bench.gateway.proxies import PROXIES, Place, Proxy
from bench.gateway.rounds import OURS, Effort, Rounds, Run, beside, figures_of, run_rounds
from bench.gateway.table import Part
from bench.lanes.rows import Beside
from bench.rows import Row, percentile
from bench.stack import MODEL
from tests.support.provider_process import fake_provider

__all__ = ["measure"]

_TOKENS = 128
_RATE = 100
_SCRIPT = f"ttft_ms=20;rate={_RATE};tokens={_TOKENS}"
_WORDS = ("alf", "bra", "cha", "del", "ech", "fox", "gol", "hot", "ind", "jul")
"""What the fake provider says, token by token, each with a space behind it."""
_TOKEN_BYTES = 4
_ANSWER = "".join(f"{_WORDS[n % len(_WORDS)]} " for n in range(_TOKENS))
_LEVELS = (1, 10, 100, 300)
_PEER_LEVELS_QUICK = (10, 100)
_P50_LIMITS_MS = {1: 8, 10: 10, 100: 25}
_P99_LIMIT_MS = 60
_CPU_LIMIT_US = 90
_PEERS = ("litellm", "portkey", "fastapi-aiohttp")
_FLOOR, _FLOOR_AGAIN = "fastapi-aiohttp", "fastapi-aiohttp again"
_BODY = json.dumps(
    {
        "model": MODEL,
        "stream": True,
        "messages": [{"role": "user", "content": "Tell me something long."}],
    }
)


def measure(effort: Effort) -> Part:
    """Rounds of every side at every number of streams."""
    notes: list[str] = []
    with TemporaryDirectory(prefix="penstock-bench-") as name:
        folder = Path(name)
        with fake_provider(folder, script=_SCRIPT) as provider:
            rounds = run_rounds(
                {
                    arm: partial(_run, arm, provider.base_url, folder, effort)
                    for arm in _arms(effort)
                },
                rounds=effort.rounds,
                what="streaming",
                notes=notes,
            )
    rounds = _with_added(rounds)
    targets = _targets(rounds)
    return Part(targets, _peers(rounds), figures_of(rounds), notes)


def _arms(effort: Effort) -> list[str]:
    return list(PROXIES) if effort.has_peers else [OURS, "direct"]


def _run(arm: str, provider: str, folder: Path, effort: Effort) -> Run:
    levels: Sequence[int] = _LEVELS
    if effort.is_quick and arm in (*_PEERS, _FLOOR_AGAIN):
        levels = _PEER_LEVELS_QUICK
    figures: dict[str, float] = {}
    first_calls = replace(effort, seconds=2)
    with (
        TemporaryDirectory(dir=folder) as scratch,
        PROXIES[arm](Place(Path(scratch), provider)) as proxy,
    ):
        _load(proxy, 4, first_calls)  # what loads at the first call is nobody's latency
        for streams in levels:
            for name, value in _load(proxy, streams, effort).items():
                figures[f"{name}@{streams}"] = value
    return figures


def _load(proxy: Proxy, streams: int, effort: Effort) -> dict[str, float]:
    """One window at so many streams; added times still hold the provider's own."""
    whole_s = 0.02 + _TOKENS / _RATE
    order = {
        "url": proxy.url,
        "headers": {"content-type": "application/json", **proxy.headers},
        "body": _BODY,
        "expected": _ANSWER,
        "streams": streams,
        "spread_s": whole_s,
        "warm_up_s": 1.5 * whole_s,
        # So few streams need longer for as many first tokens.
        "seconds": effort.seconds * (2 if streams == 1 else 1),
    }
    loaded = run_load("streams", order, trees={**proxy.own, **proxy.stores})
    result, spent_s = loaded.result, loaded.usage.spent_s
    tokens = max(1.0, result["content_bytes"] / _TOKEN_BYTES)
    firsts = result["first_ms"] or [float("inf")]
    own_us = {name: 1e6 * spent_s[name] / tokens for name in proxy.own}
    return {
        "first_p50_ms": percentile(firsts, 50),
        "first_p99_ms": percentile(firsts, 99),
        "cpu_us": sum(own_us.values()),
        **{f"cpu_us {name}": value for name, value in own_us.items() if len(own_us) > 1},
        "store_us": sum(1e6 * spent_s[name] / tokens for name in proxy.stores),
        "client_us": 1e6 * spent_s["client"] / tokens,
        "tokens_per_s": tokens / result["window_s"],
        "finished": result["finished"],
        "failed": result["failed"],
        "busy": loaded.usage.busy,
        "stolen": loaded.usage.stolen,
    }


def _with_added(rounds: Rounds) -> Rounds:
    """Less what the provider alone takes at as many streams in the same round, its median."""
    return {
        arm: [_added(run, direct) for run, direct in zip(runs, rounds["direct"], strict=False)]
        for arm, runs in rounds.items()
    }


def _added(run: Run, direct: Run) -> Run:
    added = {
        f"added_{which}_ms@{streams}": run[f"first_{which}_ms@{streams}"]
        - direct[f"first_p50_ms@{streams}"]
        for streams in _LEVELS
        for which in ("p50", "p99")
        if f"first_{which}_ms@{streams}" in run
    }
    return {**run, **added}


def _targets(rounds: Rounds) -> list[Row]:
    ours = rounds.get(OURS, [])
    if not ours:
        return []
    rows = [
        Row.at_most(
            f"added to the first token, {streams} streams, p50", "ms",
            [run[f"added_p50_ms@{streams}"] for run in ours], limit,
            if_missed=_where_it_goes(ours, streams),
        )
        for streams, limit in _P50_LIMITS_MS.items()
    ]  # fmt: skip
    rows += [
        Row.at_most(
            "added to the first token, 100 streams, p99", "ms",
            [run["added_p99_ms@100"] for run in ours], _P99_LIMIT_MS,
            if_missed=_where_it_goes(ours, 100),
        ),
        Row.at_most(
            "CPU per provider chunk, all our processes, 100 streams", "us",
            [run["cpu_us@100"] for run in ours], _CPU_LIMIT_US,
            if_missed=_where_it_goes(ours, 100),
        ),
        Row.at_least(
            "300 streams: answers that came whole", "%",
            [100 * run["finished@300"] / (run["finished@300"] + run["failed@300"]) for run in ours],
            100,
        ),
        Row.at_most(
            "1, 10 and 100 streams: answers that failed or were not whole", "",
            [float(sum(run[f"failed@{streams}"] for streams in _P50_LIMITS_MS)) for run in ours], 0,
        ),
        *_against_itself(rounds),
    ]  # fmt: skip
    return rows


def _where_it_goes(runs: Sequence[Run], streams: int) -> str:
    """Where the processor time of a chunk is spent: the reason beside a figure that is missed."""

    def middle(name: str) -> float:
        return median(run[f"{name}@{streams}"] for run in runs)

    parts = ", ".join(
        f"{name} {middle(f'cpu_us {name}'):.0f}" for name in _services(runs[0], streams)
    )
    return (
        f"per chunk at {streams}: {parts}, Kafka and Redis {middle('store_us'):.0f} us; "
        f"machine {100 * middle('busy'):.0f} % busy, {middle('tokens_per_s'):.0f} chunks/s"
    )


def _services(run: Run, streams: int) -> list[str]:
    tail = f"@{streams}"
    return [
        name.removeprefix("cpu_us ").removesuffix(tail)
        for name in run
        if name.startswith("cpu_us ") and name.endswith(tail)
    ]


def _against_itself(rounds: Rounds) -> list[Row]:
    """The A/A run: one peer twice."""
    pairs = zip(rounds.get(_FLOOR, []), rounds.get(_FLOOR_AGAIN, []), strict=False)
    ratios = [one["cpu_us@100"] / other["cpu_us@100"] for one, other in pairs]
    if not ratios:
        return []
    return [
        Row.at_most(
            "A/A: the floor against itself, CPU per chunk, distance from 1", "%",
            [100 * abs(ratio - 1) for ratio in ratios], 5,
            if_missed="the machine was not quiet: distrust this run",
        )
    ]  # fmt: skip


def _peers(rounds: Rounds) -> list[Beside]:
    figures: Mapping[str, tuple[str, str]] = {
        f"{figure}@{streams}": (f"{title}, {streams} streams", unit)
        for streams in _LEVELS
        for figure, title, unit in (
            ("added_p50_ms", "added to the first token, p50", "ms"),
            ("added_p99_ms", "added to the first token, p99", "ms"),
            ("cpu_us", "CPU per provider chunk", "us"),
        )
    }
    return [
        row
        for figure, (workload, unit) in figures.items()
        for row in beside(
            rounds, figure, workload=workload, unit=unit, less_is_better=True, peers=_PEERS
        )
    ]
