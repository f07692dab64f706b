"""Progress of long steps, on standard error so that output can be piped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from penstock.dev.jars import KAFKA_VERSION, cache_dir, cached_jars, fetch_jars
from penstock.dev.state import Phase, ProcessState, StackState

__all__ = ["fetch_kafka", "stack_progress", "step_progress"]

_FILES_ABOUT = 130
"""Roughly how many files Maven fetches into an empty repository: plugin, poms and jars."""


def fetch_kafka() -> None:
    """Fetch the jars if they are missing, showing how far that is.

    Raises:
        MissingProgram, DownloadFailed: as `fetch_jars`.
    """
    if cached_jars(cache_dir()) is not None:
        return
    with _progress() as progress:
        task = progress.add_task(f"fetching Kafka {KAFKA_VERSION} with Maven")
        fetched = 0

        def on_line(line: str) -> None:
            nonlocal fetched
            if "Downloaded from" in line:
                fetched += 1
                text = f"fetching Kafka {KAFKA_VERSION} with Maven ({fetched} files)"
                progress.update(task, description=text)

        fetch_jars(cache_dir(), on_line=on_line)


@contextmanager
def stack_progress() -> Iterator[Callable[[StackState], None]]:
    """A line that follows the start of a stack; yields what takes in each state."""
    with _progress() as progress:
        task = progress.add_task("starting the supervisor")

        def report(state: StackState) -> None:
            if state.phase is not Phase.STARTING:
                return
            waiting = [
                f"{view.name}-{view.number}"
                for view in state.processes
                if view.state is not ProcessState.READY
            ]
            text = state.message + (f" (waiting for {', '.join(waiting)})" if waiting else "")
            progress.update(task, description=text)

        yield report


@contextmanager
def step_progress(text: str) -> Iterator[Callable[[str], None]]:
    """A line that says where a long step is; yields what changes it."""
    with _progress() as progress:
        task = progress.add_task(text)
        yield lambda line: progress.update(task, description=line)


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
