"""`penstock status`: the processes of the stack and what waits in the log."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Annotated, Any

import typer
from penstock_kit.errors import PenstockError

from penstock.cli.console import Out, failing_well
from penstock.cli.target import DataOption, JsonOption, Target
from penstock.dev.state import Phase, ProcessView, StackState, read_state
from penstock.errors import ExitStatus, NoStack
from penstock.operating.topics import GroupLag, group_lag

__all__ = ["status"]

LagOption = Annotated[bool, typer.Option(help="Ask Kafka what the groups have before them.")]


def status(*, data: DataOption = None, lag: LagOption = True, json: JsonOption = False) -> None:
    """Show the stack: its processes, restarts and why, and the records that wait.

    The exit status is 0 if the stack is ready and 3 if it is not.
    """
    with failing_well(json=json):
        target, out = Target(data=data), Out(json=json)
        state = read_state(target.paths)
        if state is None:
            raise NoStack(
                f"no stack was ever started in {target.paths.root}; start one: `penstock dev up`"
            )
        is_ready = state.phase is Phase.READY
        waiting = _waiting(target) if lag and is_ready else []
        out.document(_document(state, waiting))
        _print(out, state, waiting)
        if not is_ready:
            raise typer.Exit(ExitStatus.UNREACHABLE)


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
    try:
        return asyncio.run(group_lag(target.kafka, sorted(by_group.items())))
    except (PenstockError, TimeoutError):
        return []  # the table of processes says enough about a broker that is away


def _document(state: StackState, waiting: list[GroupLag]) -> dict[str, Any]:
    return {
        **state.model_dump(mode="json"),
        "lag": [{"group": row.group, "topic": row.topic, "lag": row.lag} for row in waiting],
    }


def _print(out: Out, state: StackState, waiting: list[GroupLag]) -> None:
    out.say(f"{state.phase.value}{': ' + state.message if state.message else ''}")
    out.table(
        ("process", "state", "pid", "memory", "restarts", "since", "last end"),
        [_row(view) for view in state.processes],
    )
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
