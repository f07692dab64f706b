"""A batch of 20,000 lines beside the same jobs handed straight to the lanes of the worker."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import openai
from penstock.dev.endpoints import DevJson
from penstock.producing.asynchronous import EventProducer
from penstock.producing.events import ProducerIdentity

from bench.gateway.load import LoadFailed
from bench.gateway.proxies import provider_file, service_trees
from bench.gateway.rounds import OURS, Effort, Run, figures_of, run_rounds
from bench.gateway.table import Part
from bench.gateway.usage import look, resident_bytes, used_between
from bench.rows import Row
from bench.stack import MODEL, Stack, stack_on
from tests.support.provider_process import fake_provider

__all__ = ["measure"]

_LINES, _LINES_QUICK = 20_000, 2_000
_LEAST_SHARE, _MOST_GROWTH_MB = 0.9, 50
_SCRIPT = "ttft_ms=0;tokens=1;rate=0"
"""The provider answers at once: what is measured is what carries the lines."""
_WARM = 50
_BEGUN = 0.05
"""The clock runs from this share on, when neither upload nor feeding is under way any more; if it
went by unseen, from the beginning."""
_PATIENCE_S = 900
_LOOK_S = 0.2
_LANES = "lanes"
_OVER = {"completed", "failed", "expired", "cancelled"}
_MESSAGES = [{"role": "user", "content": "Name a colour."}]


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done: `lines` jobs by the provider at `provider`."""

    stack: Stack
    provider: str
    lines: int


def measure(effort: Effort) -> Part:
    """Lines per second of both, and what the gateway grew by."""
    notes: list[str] = []
    lines = _LINES_QUICK if effort.is_quick else _LINES
    with TemporaryDirectory(prefix="penstock-bench-") as name:
        rounds = run_rounds(
            {
                OURS: partial(_run, _batch, Path(name), lines),
                _LANES: partial(_run, _straight, Path(name), lines),
            },
            rounds=min(effort.rounds, 3),
            what=f"batch of {lines:,}",
            notes=notes,
        )
    pairs = list(zip(rounds.get(OURS, []), rounds.get(_LANES, []), strict=False))
    return Part(_targets(pairs, lines), figures=figures_of(rounds), notes=notes)


def _run(hand_in: Callable[[_Work], Callable[[], bool]], folder: Path, lines: int) -> Run:
    with (
        TemporaryDirectory(dir=folder) as scratch,
        fake_provider(Path(scratch), script=_SCRIPT) as provider,
        stack_on(
            Path(scratch) / "stack",
            provider_file(Path(scratch), provider.base_url),
            replicas="embedder=0,notifier=0",
        ) as stack,
    ):
        warm_up = _Work(stack, provider.base_url, _WARM)
        _follow(warm_up, hand_in(warm_up), done_before=0)
        work = _Work(stack, provider.base_url, lines)
        return _follow(work, hand_in(work), done_before=_WARM)


def _follow(work: _Work, is_over: Callable[[], bool], *, done_before: int) -> Run:
    """Watch the provider's count until all is over."""
    gateway, trees = work.stack.pid("gateway"), service_trees(work.stack)
    before = peak = resident_bytes(gateway)
    first, began, done_then = look(trees), time.monotonic(), 0
    is_begun = False
    deadline = time.monotonic() + _PATIENCE_S
    while not is_over():
        if time.monotonic() > deadline:
            raise LoadFailed(f"{_calls(work) - done_before} of {work.lines} calls were made")
        done = _calls(work) - done_before
        if not is_begun and _BEGUN * work.lines <= done < work.lines / 2:
            is_begun, done_then = True, done
            first, began = look(trees), time.monotonic()
        peak = max(peak, resident_bytes(gateway))
        time.sleep(_LOOK_S)
    took_s, used = time.monotonic() - began, used_between(first, look(trees))
    count = work.lines - done_then
    return {
        "lines_per_s": count / took_s,
        "growth_mb": (peak - before) / 1e6,
        **{f"cpu_us {name}": 1e6 * spent / count for name, spent in used.spent_s.items()},
        "calls_beyond": _calls(work) - done_before - work.lines,
        "busy": used.busy,
        "stolen": used.stolen,
    }


def _calls(work: _Work) -> int:
    return int(_health(work)["calls"])


def _health(work: _Work) -> Mapping[str, int]:
    url = work.provider.removesuffix("/v1") + "/healthz"
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - loopback
        found: dict[str, int] = json.load(response)
        return found


def _batch(work: _Work) -> Callable[[], bool]:
    """Through `/v1/files` and `/v1/batches`; over when the output file is there and whole."""
    client = openai.OpenAI(base_url=f"{work.stack.gateway}/v1", api_key=work.stack.api_key)
    body = {"model": MODEL, "messages": _MESSAGES}
    text = "".join(
        json.dumps(
            {"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": body}
        )
        + "\n"
        for n in range(work.lines)
    )
    file = client.files.create(file=("lines.jsonl", text.encode()), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )

    def is_over() -> bool:
        found = client.batches.retrieve(batch.id)
        if found.status not in _OVER:
            return False
        counts = found.request_counts
        if counts is None or counts.completed != work.lines or found.output_file_id is None:
            raise LoadFailed(f"the batch ended {found.status} with {counts}")
        answers = client.files.content(found.output_file_id).text.splitlines()
        if len({json.loads(answer)["custom_id"] for answer in answers}) != work.lines:
            raise LoadFailed(f"the output file has {len(answers)} lines")
        return True

    return is_over


def _straight(work: _Work) -> Callable[[], bool]:
    """The same jobs of the same priority written into the log; over after the last call."""
    calls = _calls(work) + work.lines
    asyncio.run(_feed(work))

    def is_over() -> bool:
        found = _health(work)
        return found["calls"] >= calls and not found["running"]

    return is_over


async def _feed(work: _Work) -> None:
    found = DevJson.model_validate_json((work.stack.folder / "dev.json").read_bytes())
    identity = ProducerIdentity(tenant=found.tenant, source="bench/batch")
    at_once = asyncio.Semaphore(500)
    async with EventProducer(found.kafka, identity) as producer, asyncio.TaskGroup() as group:

        async def send() -> None:
            async with at_once:
                await producer.send("chat", {"messages": _MESSAGES}, model=MODEL, priority="low")

        for _ in range(work.lines):
            group.create_task(send())


def _targets(pairs: list[tuple[Run, Run]], lines: int) -> list[Row]:
    if not pairs:
        return []
    ours = [one for one, _ in pairs]
    parts = ", ".join(
        f"{name.removeprefix('cpu_us ')} {median(run[name] for run in ours):.0f}"
        for name in ours[0]
        if name.startswith("cpu_us ")
    )
    rate = median(run["lines_per_s"] for run in ours)
    title = f"batch of {lines:,} lines"
    return [
        Row.at_least(
            f"{title}: lines/s, of the same jobs handed straight to lanes", "x",
            [one["lines_per_s"] / other["lines_per_s"] for one, other in pairs], _LEAST_SHARE,
            if_missed=f"{rate:.0f} lines/s; CPU per line: {parts} us",
        ),
        Row.at_most(
            f"{title}: the gateway grew by", "MB", [run["growth_mb"] for run in ours],
            _MOST_GROWTH_MB,
        ),
        Row.at_most(f"{title}: calls beyond one per line", "",
                    [float(run["calls_beyond"]) for run in ours], 0),
    ]  # fmt: skip
