"""The call log: one JSON line at the moment something happens; it survives the death of anybody."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

__all__ = ["Call", "Journal"]


@dataclass(slots=True, kw_only=True)
class Call:
    """One request as the log tells it. `job` and `attempt` come from the worker's headers."""

    number: int
    path: str
    model: str
    job: str | None
    attempt: str | None
    first_user: str
    tokens: int = 0
    is_over: bool = False


@dataclass(slots=True)
class Journal:
    """Writes the log and keeps it in memory for in-process tests.

    Lines: `{"event": "charged", call, at, path, model, job, attempt, first_user}` when the
    provider has begun
    to work (and would bill), `{"event": "ended", call, at, how, tokens, job}` with `how` one of
    `completed`,
    `aborted` (the client went away), `cut`, `ended` (by script); `{"event": "refused", ...,
    status}` for calls that were never charged. `at` is Unix time in seconds.
    """

    path: Path | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0
    running: int = 0
    _file: Any = None

    def open(self) -> None:
        """Open the file for appending, unbuffered."""
        if self.path is not None:
            self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        """Close the file; works twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def begin(self, *, path: str, model: str, headers: dict[str, str], first_user: str) -> Call:
        """Number a new call; nothing is logged yet."""
        self.calls += 1
        return Call(
            number=self.calls,
            path=path,
            model=model,
            job=headers.get("x-penstock-job"),
            attempt=headers.get("x-penstock-attempt"),
            first_user=first_user[:200],
        )

    def charged(self, call: Call) -> None:
        """The provider begins to work on the call."""
        self.running += 1
        self._write({"event": "charged", **self._about(call)})

    def refused(self, call: Call, status: int) -> None:
        """The provider turned the call down without work."""
        call.is_over = True
        self._write({"event": "refused", **self._about(call), "status": status})

    def ended(self, call: Call, how: str) -> None:
        """The call is over; only the first word counts."""
        if call.is_over:
            return
        call.is_over = True
        self.running -= 1
        self._write(
            {
                "event": "ended",
                "call": call.number,
                "at": time.time(),
                "how": how,
                "tokens": call.tokens,
                "job": call.job,
                "attempt": call.attempt,
            }
        )

    @staticmethod
    def _about(call: Call) -> dict[str, Any]:
        return {
            "call": call.number,
            "at": time.time(),
            "path": call.path,
            "model": call.model,
            "job": call.job,
            "attempt": call.attempt,
            "first_user": call.first_user,
        }

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(orjson.dumps(line) + b"\n")
            if len(self.lines) >= 10_000:
                self.lines.clear()
        self.lines.append(line)
