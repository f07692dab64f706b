"""What an error of the API is, and the families that OpenAI knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "AUTH",
    "INVALID",
    "JOB",
    "PERMISSION",
    "RATE",
    "REQUESTS",
    "SERVER",
    "ErrorKind",
    "wrong_body",
]

INVALID: Final = "invalid_request_error"
AUTH: Final = INVALID
"""OpenAI calls a wrong key a wrong request, and clients tell by the status."""
PERMISSION: Final = "permission_error"
RATE: Final = "rate_limit_error"
REQUESTS: Final = "requests"
"""What OpenAI names as the thing that there were too many of."""
SERVER: Final = "server_error"
JOB: Final = "job_error"


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One kind of error answer.

    Attributes:
        code: stable snake-case name in `error.code` and `type`.
        status: HTTP status.
        family: `error.type`, as OpenAI names it.
        should_retry: goes out as `x-should-retry`; SDKs obey it.
        has_code: False where OpenAI's own answer has null in `error.code`; so has ours.
        remedy: what the caller can do; for the documentation.
    """

    code: str
    status: int
    family: str
    title: str
    remedy: str
    should_retry: bool = False
    has_code: bool = True


def wrong_body(code: str, title: str, remedy: str) -> ErrorKind:
    """A 400 of the body."""
    return ErrorKind(code, 400, INVALID, title, remedy)
