"""W3C trace context through HTTP and Kafka headers, without an SDK at run time.

Source: W3C Trace Context, level 1. Malformed input is never passed on: a new trace begins.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = ["TraceContext", "child_of", "from_headers", "into_headers", "new_root", "parse"]

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]",
    re.ASCII,
)
_MAX_HEADER_CHARS = 512
_MAX_MEMBERS = 32
_SAMPLED = 1

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One span's place in a trace; `state` is the vendors' tracestate, passed on as it came."""

    trace_id: str
    span_id: str
    is_sampled: bool
    state: str = ""

    @property
    def traceparent(self) -> str:
        """The header value, version 00."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"


def parse(traceparent: str | None, tracestate: str | None = None) -> TraceContext | None:
    """The context that headers carry, or None if `traceparent` is absent or malformed.

    A malformed `tracestate` is dropped and the trace goes on without it.
    """
    if traceparent is None or len(traceparent) > _MAX_HEADER_CHARS:
        return None
    found = _FORM.fullmatch(traceparent)
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if (
        version == "ff"
        or (version == "00" and rest)
        or not (int(trace_id, 16) and int(span_id, 16))
    ):
        return None
    return TraceContext(
        trace_id, span_id, bool(int(flags, 16) & _SAMPLED), _checked_state(tracestate)
    )


def new_root(
    *, is_sampled: bool = False, random_bytes: RandomBytes = secrets.token_bytes
) -> TraceContext:
    """The first span of a new trace."""
    return TraceContext(_nonzero(16, random_bytes), _nonzero(8, random_bytes), is_sampled)


def child_of(
    traceparent: str | None,
    tracestate: str | None = None,
    *,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> TraceContext:
    """A new span below the caller's; a new root where the caller sent no usable context."""
    parent = parse(traceparent, tracestate)
    if parent is None:
        return new_root(random_bytes=random_bytes)
    return TraceContext(parent.trace_id, _nonzero(8, random_bytes), parent.is_sampled, parent.state)


def into_headers(context: TraceContext) -> list[tuple[str, bytes]]:
    """The Kafka headers of a context."""
    headers = [("traceparent", context.traceparent.encode())]
    if context.state:
        headers.append(("tracestate", context.state.encode()))
    return headers


def from_headers(headers: Iterable[tuple[str, bytes | None]]) -> TraceContext | None:
    """The context that Kafka headers carry, if it is usable; a doubled traceparent is not."""
    found: dict[str, list[str]] = {"traceparent": [], "tracestate": []}
    for name, raw in headers:
        if raw is not None and name.lower() in found:
            found[name.lower()].append(raw.decode("ascii", errors="replace"))
    if len(found["traceparent"]) != 1:
        return None
    return parse(found["traceparent"][0], ",".join(found["tracestate"]) or None)


def _checked_state(text: str | None) -> str:
    if not text or len(text) > _MAX_HEADER_CHARS:
        return ""
    members = [member.strip(" \t") for member in text.split(",")]
    members = [member for member in members if member]
    keys = {member.partition("=")[0] for member in members}
    if len(members) > _MAX_MEMBERS or len(keys) != len(members):
        return ""
    return ",".join(members) if all(_MEMBER.fullmatch(member) for member in members) else ""


def _nonzero(size: int, random_bytes: RandomBytes) -> str:
    while not any(drawn := random_bytes(size)):
        pass
    return drawn.hex()
