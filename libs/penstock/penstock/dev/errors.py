"""What can stand in the way of the embedded stack.

DevError
├── MissingProgram   something must be installed first
├── DownloadFailed   Maven could not fetch Kafka
├── NotReady         a process did not become ready, or died while starting
└── StackRunning     another stack uses this data folder already

All are raised to the command line, which prints them and exits with their status.
"""

from __future__ import annotations

from penstock_kit.errors import PenstockError

__all__ = ["DevError", "DownloadFailed", "MissingProgram", "NotReady", "StackRunning"]


class DevError(PenstockError):
    """Root of the errors of the embedded stack.

    Attributes:
        hint: what to do about it, one sentence.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(f"{message}; {hint}")
        self.hint = hint


class MissingProgram(DevError):
    """A program that the stack needs is not installed."""


class DownloadFailed(DevError):
    """Maven could not fetch the Kafka jars."""


class NotReady(DevError):
    """A process died while starting, or was not ready in time."""


class StackRunning(DevError):
    """A stack runs already on the same data folder."""
