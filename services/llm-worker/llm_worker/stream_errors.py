"""What an `error` object in a 200 answer means: what a status says, where it tells one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_worker.errors import Permanent, ProviderFault, Transient
from llm_worker.provider_status import fault_of_status, is_known_refusal

__all__ = ["fault_in_stream"]

_TRANSIENT_WORDS = (
    "rate_limit",
    "overloaded",
    "server_error",
    "timeout",
    "unavailable",
    "internal",
)
_REFUSED = 400


def fault_in_stream(provider: str, error: Any) -> ProviderFault:
    """The fault behind an `error` object; its message is dropped, it may quote the prompt.

    Servers put an HTTP status, a number in quotes or a name into `code`. What none of them explains
    is tried again: the provider had taken the request before.
    """
    about = error if isinstance(error, dict) else {}
    status = _status(about)
    if status is None and is_known_refusal(about):
        status = _REFUSED
    if status is not None:
        fault = fault_of_status(provider, status, {}, about)
        fault.was_charged, fault.was_refused = True, False
        return fault
    words = f"{about.get('type')} {about.get('code')}".lower()
    may_pass = any(word in words for word in _TRANSIENT_WORDS)
    if "invalid_request" in words and not may_pass:
        return Permanent(
            f"provider {provider!r} broke off the answer with an error that another try will not "
            "mend",
            code="provider_stream_error",
            was_charged=True,
        )
    return Transient(
        f"provider {provider!r} broke off the answer with an error; the job is tried again",
        code="provider_stream_error",
        was_charged=True,
    )


def _status(about: Mapping[str, Any]) -> int | None:
    for name in ("code", "status"):
        value = about.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value[:4])
        if isinstance(value, int) and 400 <= value < 600:  # noqa: PLR2004 - HTTP errors
            return value
    return None
