"""What the supervisor tells the outside: one JSON file, replaced at every change."""

from __future__ import annotations

import fcntl
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from penstock.dev.paths import StackPaths, write_private

__all__ = ["Phase", "ProcessState", "ProcessView", "StackState", "is_supervised", "read_state"]


class Phase(StrEnum):
    """Where the stack as a whole stands."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class ProcessState(StrEnum):
    """Where one process stands."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    """It died; the next start follows after a pause."""
    STOPPED = "stopped"


class ProcessView(BaseModel):
    """One supervised process."""

    name: str
    number: int
    state: ProcessState
    pid: int | None = None
    restarts: int = 0
    since: datetime
    why: str | None = Field(default=None, description="Why it ended the last time.")


class StackState(BaseModel):
    """The stack and all its processes."""

    model_config = ConfigDict(extra="ignore")

    phase: Phase
    message: str = ""
    supervisor: int
    started_at: datetime
    processes: list[ProcessView] = Field(default_factory=list)

    def write(self, path: Path) -> None:
        """Replace the file."""
        write_private(path, self.model_dump_json(indent=1))


def is_supervised(paths: StackPaths) -> bool:
    """Whether a supervisor lives on this folder: it holds the lock until it ends in any way."""
    try:
        with paths.lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def read_state(paths: StackPaths) -> StackState | None:
    """The last state of the stack; None if there never was one. A dead one's is corrected."""
    try:
        state = StackState.model_validate_json(paths.state.read_bytes())
    except (OSError, ValueError):
        return None
    if state.phase in (Phase.STOPPED, Phase.FAILED) or is_supervised(paths):
        return state
    gone = [
        view.model_copy(update={"state": ProcessState.STOPPED, "pid": None})
        for view in state.processes
    ]
    message = "the supervisor was killed; its processes went with it"
    return state.model_copy(update={"phase": Phase.STOPPED, "message": message, "processes": gone})
