"""Exit statuses of the command line, and which error leads to which.

docs/cli.md shows the same table; a test compares them.
"""

from __future__ import annotations

from enum import IntEnum

from penstock_kit.errors import PenstockError
from penstock_kit.kafka.admin import TopicsUnavailable
from penstock_kit.kafka.ports import DeliveryUnknown

from penstock.client.errors import ApiError, JobEnded, NotAuthorized, NotFound, Unreachable
from penstock.dev.errors import DownloadFailed, MissingProgram, NotReady, StackRunning
from penstock.dev.options import BadOptions
from penstock.operating.credentials import NoCredential
from penstock.operating.topics import NoTopic

__all__ = ["ExitStatus", "NoStack", "WrongUse", "exit_status"]


class ExitStatus(IntEnum):
    """What the exit status of every command means."""

    OK = 0
    FAILED = 1
    """It was tried and did not work, for example the job failed."""
    WRONG_USE = 2
    """The command line makes no sense; nothing was tried."""
    UNREACHABLE = 3
    """No stack, gateway, broker or Redis answers."""
    REFUSED = 4
    """The credential is missing, wrong, or does not reach so far."""
    NOT_FOUND = 5
    """No such job, key or topic."""
    MISSING = 6
    """A program or download that the embedded stack needs is missing."""
    TIMED_OUT = 7
    """Not finished in the time given."""


class NoStack(PenstockError):
    """No stack runs here and no address was given; the command line asks for one of them."""


class WrongUse(PenstockError):
    """Options that do not fit together; nothing was tried."""


_STATUSES: tuple[tuple[type[Exception], ExitStatus], ...] = (
    (NoStack, ExitStatus.UNREACHABLE),
    (WrongUse, ExitStatus.WRONG_USE),
    (BadOptions, ExitStatus.WRONG_USE),
    (MissingProgram, ExitStatus.MISSING),
    (DownloadFailed, ExitStatus.MISSING),
    (NotReady, ExitStatus.FAILED),
    (StackRunning, ExitStatus.FAILED),
    (JobEnded, ExitStatus.FAILED),
    (NotAuthorized, ExitStatus.REFUSED),
    (NotFound, ExitStatus.NOT_FOUND),
    (NoCredential, ExitStatus.NOT_FOUND),
    (NoTopic, ExitStatus.NOT_FOUND),
    (ApiError, ExitStatus.FAILED),
    (Unreachable, ExitStatus.UNREACHABLE),
    (TopicsUnavailable, ExitStatus.UNREACHABLE),
    (DeliveryUnknown, ExitStatus.UNREACHABLE),
    (TimeoutError, ExitStatus.TIMED_OUT),
)


def exit_status(error: Exception) -> ExitStatus:
    """The status for an error; the first kind that fits."""
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return status
    return ExitStatus.FAILED
