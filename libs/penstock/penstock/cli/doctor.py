"""`penstock doctor`: what is missing, what is broken, and how to mend it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx2
import typer
from penstock_kit.errors import PenstockError

from penstock.cli.console import Out, explain, failing_well
from penstock.cli.target import DataOption, JsonOption, Target
from penstock.dev.jars import KAFKA_VERSION, cache_dir, cached_jars
from penstock.dev.java import find_java, java_version
from penstock.dev.kafka import is_broker_ready
from penstock.dev.model_server import answers_ok, find_weights
from penstock.dev.redis import answers_ping, find_redis_server
from penstock.dev.state import Phase, read_state
from penstock.errors import ExitStatus

__all__ = ["doctor"]

_MINIMUM_PYTHON = (3, 11)
_FREE_BYTES = 2 * 1024**3
"""Kafka stops when its disk is full; two gigabytes last for days of development."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check; `fix` is None where all is well. `is_missing`: to be installed."""

    name: str
    text: str
    fix: str | None = None
    is_missing: bool = False


def doctor(*, data: DataOption = None, json: JsonOption = False) -> None:
    """Check what the stack needs and, if it runs, whether it works.

    The exit status is 0 if all is well, 6 if something must be installed, 1 if the stack is broken.
    """
    with failing_well(json=json):
        target, out = Target(data=data), Out(json=json)
        findings = [*_prerequisites(), *_stack(target)]
        out.document(
            [
                {"check": f.name, "ok": f.fix is None, "found": f.text, "fix": f.fix}
                for f in findings
            ]
        )
        for finding in findings:
            out.say(
                f"{'ok  ' if finding.fix is None else 'FAIL'} {finding.name:<10} {finding.text}"
            )
            if finding.fix is not None:
                out.say(f"     {'':<10} fix: {finding.fix}")
        bad = [finding for finding in findings if finding.fix is not None]
        if bad:
            is_missing = any(finding.is_missing for finding in bad)
            raise typer.Exit(ExitStatus.MISSING if is_missing else ExitStatus.FAILED)


def _prerequisites() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    is_new = sys.version_info >= _MINIMUM_PYTHON
    yield Finding("python", version, None if is_new else "install Python 3.11 or newer", not is_new)
    yield _found("java", lambda: f"{find_java()} ({java_version(find_java())})")
    yield _jars()
    yield _found("redis", lambda: str(find_redis_server()))
    yield _found("model", lambda: find_weights().name)
    for name in ("xllamacpp", "gateway", "llm_worker", "embedder", "recorder", "notifier"):
        if importlib.util.find_spec(name) is None:
            yield Finding(name, "not in this environment", "run `make install`", is_missing=True)


def _stack(target: Target) -> Iterator[Finding]:
    root = target.paths.root
    free = shutil.disk_usage(root if root.exists() else root.parent).free
    fix = None if free > _FREE_BYTES else "free at least 2 GB; Kafka stops on a full disk"
    yield Finding("disk", f"{free / 1e9:.1f} GB free at {root}", fix)
    state, dev = read_state(target.paths), target.dev
    if state is None or state.phase is Phase.STOPPED:
        yield Finding("stack", "not running")
        return
    if state.phase is not Phase.READY or dev is None:
        fix = f"read the logs in {target.paths.logs}, then `penstock dev up`"
        yield Finding("stack", f"{state.phase.value} {state.message}", fix)
        return
    yield Finding("stack", state.message)
    logs = f"read the logs in {target.paths.logs}"
    for view in state.processes:
        if view.restarts:
            label = f"{view.name}-{view.number}"
            yield Finding(label, f"restarted {view.restarts} times, last {view.why}")
    port = int(dev.kafka.rpartition(":")[2])
    yield _works("kafka", dev.kafka, is_ok=is_broker_ready(dev.kafka, port), fix=logs)
    redis_port = int(dev.redis.rpartition(":")[2].partition("/")[0])
    yield _works("redis", dev.redis, is_ok=answers_ping(redis_port), fix=logs)
    for label, address in dev.admin.items():
        yield _works(label, f"{address}/readyz", is_ok=answers_ok(f"{address}/readyz"), fix=logs)
    yield _key(dev.gateway, dev.api_key)


def _jars() -> Finding:
    if cached_jars(cache_dir()) is not None:
        return Finding("kafka jars", f"{KAFKA_VERSION} in {cache_dir()}")
    if shutil.which("mvn"):
        return Finding("kafka jars", "not fetched yet; the first start does it with Maven")
    fix = "install Maven (Debian: apt-get install maven; macOS: brew install maven)"
    return Finding("kafka jars", "not fetched, and there is no Maven", fix, is_missing=True)


def _key(gateway: str, key: str) -> Finding:
    try:
        answer = httpx2.get(
            f"{gateway}/v1/jobs?limit=1", headers={"Authorization": f"Bearer {key}"}, timeout=5
        )
    except httpx2.HTTPError as error:
        return Finding("key", f"{gateway} does not answer: {error}", "read the gateway's log")
    if answer.is_success:
        return Finding("key", "the gateway accepts the development key")
    return Finding(
        "key", f"the gateway answers {answer.status_code}", "stop and start the stack again"
    )


def _works(name: str, address: str, *, is_ok: bool, fix: str) -> Finding:
    return Finding(name, address if is_ok else f"{address} does not answer", None if is_ok else fix)


def _found(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, look())
    except PenstockError as error:
        what, fix = explain(error)
        return Finding(name, what, fix or "run `make install`", is_missing=True)
