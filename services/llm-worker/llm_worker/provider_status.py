"""What an HTTP status of an OpenAI-compatible provider means for the job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from llm_worker.errors import Permanent, ProviderFault, Transient

__all__ = ["fault_of_status", "is_known_refusal", "retry_after_s"]

_SAFE = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}", re.ASCII)
"""What we repeat of a provider's words: names. Its sentences may quote prompts and keys."""

_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_UNBEGUN = frozenset({409, 425, 429, 503, 529})
"""Those with which a provider turns a call away before it works on it. Behind 408, 500, 502 and 504
a model may have run, and be billed."""
_REFUSALS: dict[int, tuple[str, str, str]] = {
    401: (
        "provider_auth_failed",
        "authentication_error",
        "refuses our key; the operator must check api_key",
    ),
    403: (
        "provider_auth_failed",
        "permission_error",
        "forbids the call; the operator must check the key's rights",
    ),
    404: (
        "provider_model_not_found",
        "not_found_error",
        "does not know the model; the operator must check base_url and `upstream` (or the alias)",
    ),
    413: (
        "provider_request_too_large",
        "invalid_request_error",
        "refuses the request as too large; shorten the input",
    ),
}
_CODES = {
    "context_length_exceeded": "the input, together with the room for the answer, is longer than "
    "the model's context; shorten it or lower max_tokens",
    "content_filter": "the provider's content filter refused the input; change it",
    "content_policy_violation": "the provider's content filter refused the input; change it",
}
_QUOTA = "insufficient_quota"


def fault_of_status(
    provider: str, status: int, headers: Mapping[str, str], error: Mapping[str, Any]
) -> ProviderFault:
    """The fault behind a status other than 200; `error` is that member of the body, or empty."""
    code, param = _code(error), _name(error.get("param"))
    who = f"provider {provider!r}"
    if code == _QUOTA:
        return Permanent(
            f"{who} says that its quota is used up; the operator must raise it",
            code="provider_quota_exceeded",
            status=status,
            was_charged=False,
            kind=_QUOTA,
        )
    if status in _TRANSIENT or status >= 500:  # noqa: PLR2004 - HTTP server errors
        return _passing(who, status, headers)
    if status in _REFUSALS:
        ours, kind, what = _REFUSALS[status]
        return Permanent(f"{who} {what}", code=ours, status=status, was_charged=False, kind=kind)
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP redirects
        return Permanent(
            f"{who} answered with a redirect, which is never followed; correct its base_url",
            code="provider_redirected",
            status=status,
            was_charged=False,
            kind="server_error",
        )
    if code in _CODES:
        return Permanent(
            f"{who}: {_CODES[code]}", code=code, status=status, was_charged=False, param=param
        )
    about = ", ".join(f"{name} {word}" for name, word in (("code", code), ("param", param)) if word)
    return Permanent(
        f"{who} refused the request with status {status}" + (f" ({about})" if about else ""),
        code="provider_refused_request",
        status=status,
        was_charged=False,
        param=param,
    )


def is_known_refusal(error: Mapping[str, Any]) -> bool:
    """Whether an error says by its name alone, without a status, what is wrong."""
    code = _code(error)
    return code == _QUOTA or code in _CODES


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the provider asks us to wait: `retry-after-ms`, or either `Retry-After`."""
    millis = headers.get("retry-after-ms")
    text = headers.get("retry-after")
    try:
        if millis is not None:
            return max(float(millis) / 1000, 0.0)
        if text is None:
            return None
        if text.replace(".", "", 1).isdigit():
            return float(text)
        due = parsedate_to_datetime(text)
        return max((due - datetime.now(timezone.utc)).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


def _passing(who: str, status: int, headers: Mapping[str, str]) -> Transient:
    is_limit = status == 429  # noqa: PLR2004 - Too Many Requests
    what = "limits our rate" if is_limit else f"failed with status {status}"
    return Transient(
        f"{who} {what}; the job is tried again",
        code="provider_rate_limited" if is_limit else "provider_failed",
        status=status,
        was_charged=False,
        was_refused=status in _UNBEGUN,
        retry_after_s=retry_after_s(headers),
        kind="rate_limit_error" if is_limit else "server_error",
    )


def _code(error: Mapping[str, Any]) -> str | None:
    """The error's code, also where a server tells it in another place."""
    if error.get("type") == _QUOTA:
        return _QUOTA
    # llama.cpp has a type of its own for it, vLLM only a sentence, which is not repeated.
    said = error.get("message")
    if error.get("type") == "exceed_context_size_error" or (
        isinstance(said, str) and "maximum context length" in said.lower()
    ):
        return "context_length_exceeded"
    return _name(error.get("code"))


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and _SAFE.fullmatch(value) else None
