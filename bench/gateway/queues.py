"""The sides of the round trip: ours twice, and the task queues that Python teams use."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from penstock.dev.endpoints import DevJson
from penstock.dev.ports import PortPicker

from bench.environments import python_environment
from bench.gateway.load import Loaded, run_client, run_load
from bench.gateway.napping import TASK, TASKS_FILE
from bench.gateway.processes import process, server
from bench.gateway.proxies import ARMS, PEERS, provider_file, service_trees, store_trees
from bench.lanes.filling import make_topic
from bench.stack import MODEL, ROOT, Stack, stack_on

__all__ = ["NAP_MS", "QUEUES", "Queue"]

NAP_MS = 50
_NO_SERVICES = "gateway=0,notifier=0,llm-worker=0,embedder=0,recorder=0"
_NOWHERE = "http://127.0.0.1:9/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A running side: `ask` has so many callers ask for work and wait for it."""

    ask: Callable[[Mapping[str, float]], Loaded]
    own: Mapping[str, int] = field(default_factory=dict)
    stores: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def _penstock_kit(folder: Path, provider: str) -> Iterator[Queue]:
    """REST in and out, the job table, and a worker of one's own on the kit."""
    del provider
    tasks = folder / "tasks.yaml"
    tasks.write_text(TASKS_FILE)
    with stack_on(
        folder / "stack",
        provider_file(folder, _NOWHERE),
        replicas="llm-worker=0,embedder=0,notifier=0",
        tasks=tasks,
    ) as stack:
        admin = PortPicker().pick()
        with server(
            [sys.executable, "-m", "bench.gateway.napping"],
            ready=f"http://127.0.0.1:{admin}/readyz",
            log=folder / "worker.log",
            env=_service_environment(stack, tasks=tasks, admin=admin),
            cwd=ROOT,
        ) as worker:
            body = {"task": TASK, "input": "go"}
            yield _ours(stack, body, own={**service_trees(stack), "worker": worker})


@contextmanager
def _penstock_llm(folder: Path, provider: str) -> Iterator[Queue]:
    """The same by the llm-worker, whose work is a call of a provider that takes as long."""
    upstream = f"fake:ttft_ms={NAP_MS};tokens=1;rate=0"
    with stack_on(
        folder / "stack",
        provider_file(folder, provider, upstream=upstream),
        replicas="embedder=0,notifier=0",
        env={"PENSTOCK_LLM_WORKER__MAX_IN_FLIGHT": "512"},
    ) as stack:
        body = {"task": "chat", "model": MODEL, "input": "go"}
        yield _ours(stack, body, own=service_trees(stack))


def _ours(stack: Stack, body: Mapping[str, str], *, own: Mapping[str, int]) -> Queue:
    stores = store_trees(stack)

    def ask(order: Mapping[str, float]) -> Loaded:
        request = {
            "url": f"{stack.gateway}/v1/jobs",
            "headers": {
                "authorization": f"Bearer {stack.api_key}",
                "content-type": "application/json",
                "prefer": "wait=30",
            },
            "body": json.dumps(body),
            "status": 200,
            "contains": '"completed"',
            **order,
        }
        return run_load("requests", request, trees={**own, **stores})

    return Queue(ask=ask, own=own, stores=stores)


def _service_environment(stack: Stack, *, tasks: Path, admin: int) -> dict[str, str]:
    found = DevJson.model_validate_json((stack.folder / "dev.json").read_bytes())
    return {
        "PENSTOCK_KAFKA__BOOTSTRAP": found.kafka,
        "PENSTOCK_REDIS__URL": found.redis,
        "PENSTOCK_BLOBS__URL": found.blobs,
        "PENSTOCK_AUTH__ID_SECRET": found.id_secret,
        "PENSTOCK_AUTH__VERIFY_PRODUCERS": "false",
        "PENSTOCK_TASKS_FILE": str(tasks),
        "PENSTOCK_ADMIN__PORT": str(admin),
        "PENSTOCK_INSTANCE": TASK,
    }


@contextmanager
def _peer(
    folder: Path,
    provider: str,
    *,
    name: str,
    worker: Callable[[Path], list[str]],
    has_topics: bool = False,
) -> Iterator[Queue]:
    """Another queue on the same Redis or Kafka; its client is a process of its own framework."""
    del provider
    with stack_on(
        folder / "stack", provider_file(folder, _NOWHERE), replicas=_NO_SERVICES
    ) as stack:
        python = python_environment(PEERS / f"{name}.txt")
        env = {
            "BENCH_REDIS": stack.redis,
            "BENCH_KAFKA": stack.kafka,
            "BENCH_TOPICS": f"{make_topic(stack.kafka)},{make_topic(stack.kafka)}"
            if has_topics
            else "",
            "PYTHONPATH": str(ARMS),
        }
        stores = store_trees(stack)
        log = folder / f"{name}.log"
        with process(worker(python.parent), log=log, env=env, cwd=ARMS) as running:
            own = {name: running.pid}

            def ask(order: Mapping[str, float]) -> Loaded:
                wanted = {
                    "kafka": stack.kafka,
                    "redis": stack.redis,
                    "callers": order["callers"],
                    "warm_up_s": order["warm_up_s"],
                    "seconds": order["seconds"],
                }
                script = str(ARMS / f"{name}_tasks.py")
                command = [str(python), script, "client", json.dumps(wanted)]
                return run_client(command, trees={**own, **stores}, env=env)

            yield Queue(ask=ask, own=own, stores=stores)


def _dramatiq(programs: Path) -> list[str]:
    program = str(programs / "dramatiq")
    return [program, "dramatiq_tasks", "--processes", "2", "--threads", "64"]


def _taskiq(programs: Path) -> list[str]:
    program = str(programs / "taskiq")
    return [program, "worker", "taskiq_tasks:broker", "--workers", "2",
            "--max-async-tasks", "200", "--log-level", "WARNING"]  # fmt: skip


def _arq(programs: Path) -> list[str]:
    return [str(programs / "python"), "arq_tasks.py", "worker"]


def _celery(programs: Path) -> list[str]:
    program = str(programs / "celery")
    return [program, "-A", "celery_tasks", "worker", "-P", "gevent", "-c", "200",
            "--without-gossip", "--without-mingle", "-l", "WARNING"]  # fmt: skip


def _faststream(programs: Path) -> list[str]:
    return [str(programs / "python"), "faststream_tasks.py", "worker"]


QUEUES: Mapping[str, Callable[[Path, str], AbstractContextManager[Queue]]] = {
    "penstock": _penstock_kit,
    "penstock llm-worker": _penstock_llm,
    "dramatiq": partial(_peer, name="dramatiq", worker=_dramatiq),
    "taskiq": partial(_peer, name="taskiq", worker=_taskiq),
    "arq": partial(_peer, name="arq", worker=_arq),
    "celery": partial(_peer, name="celery", worker=_celery),
    "faststream": partial(_peer, name="faststream", worker=_faststream, has_topics=True),
}
