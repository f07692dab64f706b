"""What can go wrong between a program and Penstock.

ClientError
├── ApiError            the gateway refused; `code` is stable, docs/errors.md lists all
│   ├── NotAuthorized   401 and 403: the key is missing, unknown, expired or revoked
│   ├── NotFound        404: no such job for this key
│   └── NotCompleted    409: the job has no result yet
├── Unreachable         no answer: nothing listens there, or the connection broke too often
└── JobEnded            the job ended without a result; `status` and `error` tell how
"""

from __future__ import annotations

from penstock_contracts.parts import JobError
from penstock_kit.errors import PenstockError

__all__ = [
    "ApiError",
    "ClientError",
    "JobEnded",
    "NotAuthorized",
    "NotCompleted",
    "NotFound",
    "Unreachable",
]


class ClientError(PenstockError):
    """Root of the client's errors."""


class ApiError(ClientError):
    """The gateway refused a request.

    Attributes:
        status: HTTP status.
        code: stable snake-case name.
        param: the field or parameter to blame, if one is.
        job: id of the job that the answer is about, if it names one.
        retry_after_s: the server's wish, if it sent one.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        param: str | None = None,
        job: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.job = job
        self.retry_after_s = retry_after_s


class NotAuthorized(ApiError):
    """The credential does not open this door; get another, do not repeat."""


class NotFound(ApiError):
    """There is no such job for this credential."""


class NotCompleted(ApiError):
    """The job still runs; ask again later or follow its events."""


class Unreachable(ClientError):
    """No answer from the server, after all tries."""


class JobEnded(ClientError):
    """The job is over and has no result.

    Attributes:
        job: its id.
        status: failed, cancelled, expired or unknown_outcome.
        error: the job's own words, where there are any.
    """

    def __init__(self, message: str, *, job: str, status: str, error: JobError | None) -> None:
        super().__init__(message)
        self.job = job
        self.status = status
        self.error = error
