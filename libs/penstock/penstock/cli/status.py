"""`penstock status`: the processes of the stack here, and what waits in the log."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Annotated, Any

import typer
from penstock_kit.errors import PenstockError

from penstock.cli.console import Out, failing_well
from penstock.cli.target import DataOption, JsonOption, KafkaOption, Target
from penstock.dev.state import Phase, ProcessView, StackState, read_state
from penstock.errors import ExitStatus, NoStack, WrongUse
from penstock.operating.topics import GroupLag, group_lag

__all__ = ["status"]

LagOption = Annotated[bool, typer.Option(help="Ask Kafka what the groups have before them.")]


def status(
    *,
    kafka: KafkaOption = None,
    data: DataOption = None,
    lag: LagOption = True,
    json: JsonOption = False,
) -> None:
    """Show the stack: its processes, restarts and why, and the records that wait.

    The exit status is 0 if the stack is ready and 3 if it is not. Where no stack was started, or
    with --kafka, only the records that wait are shown.
    """
    with failing_well(json=json):
        target, out = Target(data=data, given_kafka=kafka), Out(json=json)
        state = read_state(target.paths) if kafka is None else None
        if state is not None:
            _show_stack(out, target, state, lag=lag)
        elif not target.names_kafka:
            raise NoStack(
                f"no stack was ever started in {target.paths.root} and nothing says where Kafka"
                " is; start one: `penstock dev up`, or give --kafka"
            )
        elif not lag:
            raise WrongUse("without a stack there is only the lag to show; leave --no-lag out")
        else:
            _show_log(out, _waiting(target))


def _show_stack(out: Out, target: Target, state: StackState, *, lag: bool) -> None:
    is_ready = state.phase is Phase.READY
    waiting = _waiting_of_stack(target) if lag and is_ready else []
    out.document({**state.model_dump(mode="json"), "lag": _documents(waiting)})
    out.say(f"{state.phase.value}{': ' + state.message if state.message else ''}")
    out.table(
        ("process", "state", "pid", "memory", "restarts", "since", "last end"),
        [_row(view) for view in state.processes],
    )
    _print(out, waiting)
    if not is_ready:
        raise typer.Exit(ExitStatus.UNREACHABLE)


def _show_log(out: Out, waiting: list[GroupLag]) -> None:
    out.document({"lag": _documents(waiting)})
    _print(out, waiting)


def _waiting_of_stack(target: Target) -> list[GroupLag]:
    try:
        return _waiting(target)
    except (PenstockError, TimeoutError):
        return []  # the table of processes says enough about a broker that is away


def _waiting(target: Target) -> list[GroupLag]:
    tasks = target.tasks
    by_group: dict[str, list[str]] = {}
    for name in tasks.names:
        base = tasks.base_topic(name)
        topics = by_group.setdefault(tasks.group(name), [])
        topics.extend(topic for topic in (base, f"{base}.high", f"{base}.low"))
    by_group["recorder"] = [
        topic.name
        for topic in tasks.topics()
        if "recorder" in topic.read_by and topic.messages[0] in ("request", "queued")
    ]
    return asyncio.run(group_lag(target.kafka, sorted(by_group.items())))


def _documents(waiting: list[GroupLag]) -> list[dict[str, Any]]:
    return [{"group": row.group, "topic": row.topic, "lag": row.lag} for row in waiting]


def _print(out: Out, waiting: list[GroupLag]) -> None:
    behind = [row for row in waiting if row.lag > 0]
    if waiting:
        out.say("nothing waits in the log" if not behind else "waiting in the log:")
    for row in behind:
        out.say(f"  {row.lag:>7}  {row.topic}  (group {row.group})")


def _row(view: ProcessView) -> tuple[object, ...]:
    seconds = time.time() - view.since.timestamp()
    return (
        f"{view.name}-{view.number}",
        view.state.value,
        view.pid,
        _memory(view.pid),
        view.restarts,
        f"{_span(seconds)} ago",
        view.why,
    )


def _memory(pid: int | None) -> str | None:
    """Resident memory, where /proc tells it."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - no path of ours
            pages = int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return f"{pages * os.sysconf('SC_PAGE_SIZE') / 1e6:.0f} MB"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
