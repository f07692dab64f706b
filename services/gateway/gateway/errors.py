"""The errors of the gateway: their tree, and how one is answered.

GatewayError (PenstockError)
└── ApiError    answered as `application/problem+json`; raised below the routes, caught there

Every kind that there is stands in `error_kinds.REGISTRY`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from penstock_kit.errors import PenstockError

from gateway.error_kinds import REGISTRY

__all__ = ["PROBLEM_TYPE", "ApiError", "GatewayError", "answered_with", "problem_body"]

PROBLEM_TYPE: Final = "application/problem+json"


class GatewayError(PenstockError):
    """Root of the gateway's errors."""


@dataclass(frozen=True, slots=True)
class _Details:
    """What an `ApiError` carries beside its kind and its sentence."""

    param: str | None = None
    retry_after_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)


class ApiError(GatewayError):
    """The answer is an error of the registry. Raised by verbs and routes, answered at their edge.

    Attributes:
        kind: entry of the registry.
        detail: what happened, why, what to do; quotes nothing of the caller's content.
        details: field to blame, waiting time, further headers and members of the body.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = REGISTRY[code]
        self.detail = detail
        self.details = _Details(param, retry_after_s, headers or {}, members or {})

    def add_headers(self, headers: Mapping[str, str]) -> None:
        """Answer with these headers, too; those that it has already stay as they are."""
        self.details = replace(self.details, headers={**headers, **self.details.headers})


@contextmanager
def answered_with(headers: Mapping[str, str]) -> Iterator[None]:
    """Errors that are raised inside are answered with these headers, too."""
    try:
        yield
    except ApiError as error:
        error.add_headers(headers)
        raise


def problem_body(error: ApiError, *, instance: str) -> dict[str, Any]:
    """The body of an error answer: RFC 9457, with the `error` member that OpenAI clients read."""
    kind = error.kind
    return {
        "type": f"urn:penstock:error:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": error.detail,
        "instance": instance,
        "error": {
            "message": error.detail,
            "type": kind.family,
            "param": error.details.param,
            "code": kind.code if kind.has_code else None,
        },
        **error.details.members,
    }
