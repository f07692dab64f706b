"""What lies where in the folder of a stack (`.penstock/` by default)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DATA_VARIABLE", "StackPaths", "default_data_dir", "find_stack", "write_private"]

DATA_VARIABLE = "PENSTOCK_DEV__DATA"
FOLDER = ".penstock"


@dataclass(frozen=True, slots=True)
class StackPaths:
    """The files of one stack. `root` holds what outlives a run; with `--ephemeral` only logs do."""

    root: Path

    @property
    def dev_json(self) -> Path:
        """How to reach the running stack, with its keys; exists while it is ready."""
        return self.root / "dev.json"

    @property
    def secrets(self) -> Path:
        """Id secret and keys, made once."""
        return self.root / "secrets.json"

    @property
    def data(self) -> Path:
        """Kafka, Redis, vectors and blobs."""
        return self.root / "data"

    @property
    def logs(self) -> Path:
        """One file per process, `<name>-<n>.log`."""
        return self.root / "log"

    @property
    def run(self) -> Path:
        """Pid files `<name>-<n>.pid`, the state and the lock of the supervisor."""
        return self.root / "run"

    @property
    def state(self) -> Path:
        """What the supervisor knows of its processes."""
        return self.run / "state.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.run / "lock"


def default_data_dir(environ: Mapping[str, str] | None = None) -> Path:
    """`$PENSTOCK_DEV__DATA`, else `.penstock` here."""
    given = (os.environ if environ is None else environ).get(DATA_VARIABLE)
    return Path(given) if given else Path.cwd() / FOLDER


def find_stack(environ: Mapping[str, str] | None = None) -> StackPaths:
    """The stack of `$PENSTOCK_DEV__DATA`, else of this folder or one above."""
    default = default_data_dir(environ)
    if DATA_VARIABLE in (os.environ if environ is None else environ):
        return StackPaths(default)
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / FOLDER / "run").is_dir():
            return StackPaths(folder / FOLDER)
    return StackPaths(default)


def write_private(path: Path, text: str) -> None:
    """Replace the file at once, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
