"""Four families that decide what becomes of a record, and what the process does next.

PenstockError
├── Retryable   again later: the record is tried again after a pause
├── Rejected    the record is wrong: it is dead-lettered now, unexecuted
├── Busy        slow down: the record is kept and nothing is counted against it
└── Fatal       the process cannot go on: it stops with exit status 1
"""

from __future__ import annotations

__all__ = ["Busy", "Fatal", "PenstockError", "Rejected", "Retryable"]


class PenstockError(Exception):
    """Root of all errors that are ours. The message tells what happened, why, and what to do."""


class Retryable(PenstockError):
    """Raised where the same record may succeed later; lanes pause its key and try again.

    Attributes:
        retry_after_s: the earliest sensible moment as somebody else told us, in seconds; None: by
            policy.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Rejected(PenstockError):
    """Raised where a record can never succeed; lanes dead-letter it with `code` and the message.

    Attributes:
        code: stable snake-case name, a bounded set.
        field: dotted path of the offending field, if one field is to blame.
    """

    def __init__(self, message: str, *, code: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class Busy(PenstockError):
    """Raised where a part is full or a dependency is away; the caller keeps what it has and waits.

    Attributes:
        retry_after_s: seconds after which another try makes sense.
    """

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Fatal(PenstockError):
    """Raised where going on would break a promise; the service exits with 1 and is restarted."""
