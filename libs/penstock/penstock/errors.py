"""Exit statuses of the command line, and which error leads to which.

docs/cli.md shows the same table; a test compares them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from penstock_kit.errors import PenstockError

__all__ = ["STATUSES", "ExitStatus", "NoStack", "WrongUse", "exit_status"]


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
    """No such job, key, topic, letter or rule."""
    MISSING = 6
    """A program or download that the embedded stack needs is missing."""
    TIMED_OUT = 7
    """Not finished in the time given."""


class NoStack(PenstockError):
    """No stack runs here and no address was given; the command line asks for one of them."""


class WrongUse(PenstockError):
    """Options that do not fit together; nothing was tried."""


STATUSES: Final[dict[str, ExitStatus]] = {
    "NoStack": ExitStatus.UNREACHABLE,
    "WrongUse": ExitStatus.WRONG_USE,
    "BadOptions": ExitStatus.WRONG_USE,
    "BadSettings": ExitStatus.WRONG_USE,
    "MissingProgram": ExitStatus.MISSING,
    "DownloadFailed": ExitStatus.MISSING,
    "NotAuthorized": ExitStatus.REFUSED,
    "NotFound": ExitStatus.NOT_FOUND,
    "NoCredential": ExitStatus.NOT_FOUND,
    "NoEndpoint": ExitStatus.NOT_FOUND,
    "UnknownEvents": ExitStatus.WRONG_USE,
    "NoRule": ExitStatus.NOT_FOUND,
    "NoTopic": ExitStatus.NOT_FOUND,
    "NoLetter": ExitStatus.NOT_FOUND,
    "BadEdit": ExitStatus.WRONG_USE,
    "Unreachable": ExitStatus.UNREACHABLE,
    "TopicsUnavailable": ExitStatus.UNREACHABLE,
    "TableAway": ExitStatus.UNREACHABLE,
    "DeliveryUnknown": ExitStatus.UNREACHABLE,
    "TimeoutError": ExitStatus.TIMED_OUT,
}
"""By the name of the error's class: naming them must not import the clients of everything."""


def exit_status(error: Exception) -> ExitStatus:
    """The status for an error, by its class or the nearest base that has one."""
    for kind in type(error).__mro__:
        if kind.__name__ in STATUSES:
            return STATUSES[kind.__name__]
    return ExitStatus.FAILED
