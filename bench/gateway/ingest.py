"""Durable ingest: POST, acknowledged by the broker, 202; the gateway beside FastAPI + aiokafka."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import confluent_kafka
from penstock.dev.ports import PortPicker

from bench.environments import python_environment
from bench.gateway.load import Loaded, LoadFailed, run_load
from bench.gateway.processes import server
from bench.gateway.proxies import ARMS, PEERS, Proxy, provider_file, service_trees, store_trees
from bench.gateway.rounds import OURS, Effort, Rounds, Run, beside, figures_of, run_rounds
from bench.gateway.table import Part
from bench.lanes.filling import make_topic
from bench.rows import Row, percentile
from bench.stack import MODEL, stack_on

__all__ = ["measure"]

_RATE = 500
"""Requests per second at which the machine is at most half busy with either side."""
_CALLERS = 64
_CPU_RATIO, _MAX_RATIO = 0.6, 1.5
_PEER = "fastapi-aiokafka"
_NOBODY = ",".join(f"{name}=0" for name in ("llm-worker", "embedder", "notifier", "recorder"))
_REQUESTS = "ai.chat.requests.v1"
_BODY = json.dumps(
    {
        "task": "chat",
        "model": MODEL,
        "input": {"messages": [{"role": "user", "content": "x" * 900}]},
    }
)


@dataclass(frozen=True, slots=True)
class _Intake:
    """A running side and the topic that it writes to."""

    proxy: Proxy
    bootstrap: str
    topic: str


def measure(effort: Effort) -> Part:
    """CPU per request at a fixed rate, then as many requests as go through."""
    notes: list[str] = []
    arms = [OURS, _PEER] if effort.has_peers else [OURS]
    with TemporaryDirectory(prefix="penstock-bench-") as name:
        rounds = run_rounds(
            {arm: partial(_run, _SIDES[arm], Path(name), effort) for arm in arms},
            rounds=effort.rounds,
            what="ingest",
            notes=notes,
        )
    titles = {
        "cpu_us": (f"durable ingest, {_RATE}/s: CPU per request", "us", True),
        "max_per_s": ("durable ingest: most requests", "1/s", False),
        "ack_p50_ms": (f"durable ingest, {_RATE}/s: acknowledged, p50", "ms", True),
        "ack_p99_ms": (f"durable ingest, {_RATE}/s: acknowledged, p99", "ms", True),
    }
    peers = [
        row
        for figure, (title, unit, less) in titles.items()
        for row in beside(
            rounds, figure, workload=title, unit=unit, less_is_better=less, peers=[_PEER]
        )
    ]
    return Part(_targets(rounds), peers, figures_of(rounds), notes)


@contextmanager
def _gateway(folder: Path) -> Iterator[_Intake]:
    """The gateway alone: nobody runs or records the jobs, as nobody does on the other side."""
    limits = folder / "limits.yaml"
    limits.write_text("backlog: {tenant: 100000000, total: 100000000}\n")
    with stack_on(
        folder / "stack",
        provider_file(folder, "http://127.0.0.1:9/v1"),
        replicas=_NOBODY,
        env={"PENSTOCK_GATEWAY__LIMITS_FILE": str(limits)},
    ) as stack:
        proxy = Proxy(
            url=f"{stack.gateway}/v1/jobs",
            headers={"authorization": f"Bearer {stack.api_key}"},
            own=service_trees(stack),
            stores=store_trees(stack),
        )
        yield _Intake(proxy, stack.kafka, _REQUESTS)


@contextmanager
def _fastapi(folder: Path) -> Iterator[_Intake]:
    """The same broker, with as many partitions and the same promise."""
    with stack_on(
        folder / "stack",
        provider_file(folder, "http://127.0.0.1:9/v1"),
        replicas=f"{_NOBODY},gateway=0",
    ) as stack:
        topic, port = make_topic(stack.kafka), PortPicker().pick()
        python = python_environment(PEERS / "fastapi.txt")
        script = str(ARMS / "fastapi_aiokafka.py")
        with server(
            [str(python), script, str(port), stack.kafka, topic],
            ready=f"http://127.0.0.1:{port}/healthz",
            log=folder / "fastapi.log",
        ) as pid:
            proxy = Proxy(
                url=f"http://127.0.0.1:{port}/v1/jobs",
                own={"fastapi": pid},
                stores=store_trees(stack),
            )
            yield _Intake(proxy, stack.kafka, topic)


_SIDES: Mapping[str, Callable[[Path], AbstractContextManager[_Intake]]] = {
    OURS: _gateway,
    _PEER: _fastapi,
}


def _run(
    side: Callable[[Path], AbstractContextManager[_Intake]], folder: Path, effort: Effort
) -> Run:
    with TemporaryDirectory(dir=folder) as scratch, side(Path(scratch)) as intake:
        before = _records(intake)
        _load(intake.proxy, rate=_RATE, seconds=0.1, warm_up_s=3)
        steady = _load(intake.proxy, rate=_RATE, seconds=effort.seconds, warm_up_s=1)
        most = _load(intake.proxy, rate=0, seconds=effort.seconds, warm_up_s=1)
        written = _records(intake) - before
        told = sum(load.result["accepted"] for load in (steady, most))
        if written < told:
            raise LoadFailed(f"{told} were acknowledged, but the topic has {written}")
    return {**_steady(intake.proxy, steady), **_most(intake.proxy, most)}


def _load(proxy: Proxy, *, rate: float, seconds: float, warm_up_s: float) -> Loaded:
    order = {
        "url": proxy.url,
        "headers": {"content-type": "application/json", **proxy.headers},
        "body": _BODY,
        "status": 202,
        "contains": '"queued"',
        "callers": _CALLERS,
        "rate": rate,
        "warm_up_s": warm_up_s,
        "seconds": seconds,
    }
    return run_load("requests", order, trees={**proxy.own, **proxy.stores})


def _steady(proxy: Proxy, loaded: Loaded) -> dict[str, float]:
    result, spent_s = loaded.result, loaded.usage.spent_s
    count = max(1, result["measured"])
    return {
        "cpu_us": sum(1e6 * spent_s[name] / count for name in proxy.own),
        "store_us": sum(1e6 * spent_s[name] / count for name in proxy.stores),
        "ack_p50_ms": percentile(result["ms"], 50),
        "ack_p99_ms": percentile(result["ms"], 99),
        "rate": count / result["window_s"],
        "busy": loaded.usage.busy,
        "stolen": loaded.usage.stolen,
        "failed": result["failed"],
    }


def _most(proxy: Proxy, loaded: Loaded) -> dict[str, float]:
    result = loaded.result
    count = max(1, result["measured"])
    return {
        "max_per_s": count / result["window_s"],
        "max_cpu_us": sum(1e6 * loaded.usage.spent_s[name] / count for name in proxy.own),
        "max_ack_p99_ms": percentile(result["ms"], 99),
        "max_busy": loaded.usage.busy,
        "failed_at_most": result["failed"],
    }


def _records(intake: _Intake) -> int:
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": intake.bootstrap, "group.id": "bench-ends"}
    )
    try:
        partitions = consumer.list_topics(intake.topic, timeout=30).topics[intake.topic].partitions
        return sum(
            consumer.get_watermark_offsets(
                confluent_kafka.TopicPartition(intake.topic, number), timeout=30
            )[1]
            for number in partitions
        )
    finally:
        consumer.close()


def _targets(rounds: Rounds) -> list[Row]:
    pairs = list(zip(rounds.get(OURS, []), rounds.get(_PEER, []), strict=False))
    if not pairs:
        return []
    ours = [pair[0] for pair in pairs]
    why = (
        f"gateway {median(run['cpu_us'] for run in ours):.0f} us per request, of Kafka and Redis "
        f"{median(run['store_us'] for run in ours):.0f} us; idempotency, limits and the signed "
        "record are in it"
    )
    return [
        Row.at_most(
            f"durable ingest at {_RATE}/s: CPU per request, of FastAPI + aiokafka", "x",
            [one["cpu_us"] / other["cpu_us"] for one, other in pairs], _CPU_RATIO, if_missed=why,
        ),
        Row.at_least(
            "durable ingest: most requests/s, of FastAPI + aiokafka", "x",
            [one["max_per_s"] / other["max_per_s"] for one, other in pairs], _MAX_RATIO,
        ),
        Row.at_most(
            "durable ingest: requests that were not accepted", "",
            [run["failed"] + run["failed_at_most"] for run in ours], 0,
        ),
    ]  # fmt: skip
