"""Submit, 50 ms of work, the result at the client; 100 at once, beside task queues."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.gateway.queues import NAP_MS, QUEUES
from bench.gateway.rounds import OURS, Effort, Run, beside, figures_of, run_rounds
from bench.gateway.table import Part
from bench.rows import Row, percentile
from tests.support.provider_process import fake_provider

__all__ = ["measure"]

_CALLERS = 100
_LEAST_PER_S = 1130
_MOST_OVERHEAD_MS = 23
_PEERS = tuple(name for name in QUEUES if name != OURS)


def measure(effort: Effort) -> Part:
    """Tasks per second, what is added to the work, and what a task costs."""
    notes: list[str] = []
    arms = QUEUES if effort.has_peers else [name for name in QUEUES if name.startswith(OURS)]
    with TemporaryDirectory(prefix="penstock-bench-") as name:
        folder = Path(name)
        with fake_provider(folder) as provider:
            rounds = run_rounds(
                {arm: partial(_run, arm, provider.base_url, folder, effort) for arm in arms},
                rounds=effort.rounds,
                what="round trip",
                notes=notes,
            )
    title = f"task of {NAP_MS} ms, {_CALLERS} at once"
    peers = [
        row
        for figure, what, unit, less in (
            ("tasks_per_s", "tasks", "1/s", False),
            ("overhead_p50_ms", "overhead p50", "ms", True),
            ("overhead_p99_ms", "overhead p99", "ms", True),
            ("cpu_us", "CPU per task, workers and what leads to them", "us", True),
        )
        for row in beside(
            rounds, figure, workload=f"{title}: {what}", unit=unit, less_is_better=less,
            peers=_PEERS,
        )
    ]  # fmt: skip
    return Part(_targets(rounds.get(OURS, []), title), peers, figures_of(rounds), notes)


def _run(arm: str, provider: str, folder: Path, effort: Effort) -> Run:
    with (
        TemporaryDirectory(dir=folder) as scratch,
        QUEUES[arm](Path(scratch), provider) as queue,
    ):
        queue.ask({"callers": 10, "warm_up_s": 1.5, "seconds": 0.5})
        loaded = queue.ask({"callers": _CALLERS, "warm_up_s": 2, "seconds": effort.seconds})
    result, spent_s = loaded.result, loaded.usage.spent_s
    count = max(1, result["measured"])
    times = result["ms"] or [float("inf")]
    own_us = {name: 1e6 * spent_s[name] / count for name in queue.own}
    return {
        "tasks_per_s": count / result["window_s"],
        "overhead_p50_ms": percentile(times, 50) - NAP_MS,
        "overhead_p99_ms": percentile(times, 99) - NAP_MS,
        "cpu_us": sum(own_us.values()),
        **{f"cpu_us {name}": value for name, value in own_us.items() if len(own_us) > 1},
        "client_us": 1e6 * spent_s["client"] / count,
        "store_us": sum(1e6 * spent_s[name] / count for name in queue.stores),
        "failed": result["failed"],
        "busy": loaded.usage.busy,
        "stolen": loaded.usage.stolen,
    }


def _targets(ours: Sequence[Run], title: str) -> list[Row]:
    if not ours:
        return []
    why = _where_it_goes(ours)
    return [
        Row.at_least(
            f"{title}: tasks per second", "1/s", [run["tasks_per_s"] for run in ours], _LEAST_PER_S,
            if_missed=why,
        ),
        Row.at_most(
            f"{title}: overhead p50", "ms", [run["overhead_p50_ms"] for run in ours],
            _MOST_OVERHEAD_MS, if_missed=why,
        ),
        Row.at_most(f"{title}: failed or wrong", "", [run["failed"] for run in ours], 0),
    ]  # fmt: skip


def _where_it_goes(ours: Sequence[Run]) -> str:
    parts = ", ".join(
        f"{name.removeprefix('cpu_us ')} {median(run[name] for run in ours):.0f}"
        for name in ours[0]
        if name.startswith("cpu_us ")
    )
    stores = median(run["store_us"] for run in ours)
    busy = median(run["busy"] for run in ours)
    return f"per task: {parts}, Kafka and Redis {stores:.0f} us; machine {100 * busy:.0f} % busy"
