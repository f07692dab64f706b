"""Records that wait in `ai.retries.v1.*` for another try: the original record with a note.

The note travels in headers that begin with `penstock_retry_`; everything else of the record stays
byte for byte as it was. A later note replaces the earlier one, so that a record does not grow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from penstock_contracts.envelope import Headers

__all__ = [
    "MAX_DELAY_MS",
    "MAX_STATE_BYTES",
    "RetryNote",
    "is_retry_probe",
    "read_retry_note",
    "retry_headers",
    "retry_probe_headers",
    "without_retry_note",
]

_PREFIX = "penstock_retry_"
MAX_STATE_BYTES = 4096
"""Keeps a record that was accepted near the size limit retryable and dead-letterable."""

MAX_DELAY_MS = 6 * 24 * 60 * 60 * 1000
"""Below the 7 days that retry topics keep a record."""

_PROBE = f"{_PREFIX}probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryNote:
    """Why a record waits, and since when it may run again.

    Attributes:
        source: topic that the record was first read from; decides which group runs it.
        partition: the record's first place, with `offset`; -1 if it is not known.
        failures: tries that failed so far, from 0: a parked record has not failed.
        delay_ms: due this long after the broker took the record (its LogAppendTime). More than the
            topic's own delay: it hops into another retry topic on the way.
        state: what the handler wants to be told at the next try; at most 4 KiB, opaque to lanes.
    """

    source: str
    partition: int = -1
    offset: int = -1
    failures: int
    delay_ms: int
    state: bytes = b""

    def __post_init__(self) -> None:
        if not (0 <= self.delay_ms <= MAX_DELAY_MS and self.failures >= 0):
            raise ValueError(
                f"a retry after {self.failures} failures in {self.delay_ms} ms makes no sense; "
                f"at most {MAX_DELAY_MS} ms"
            )
        if len(self.state) > MAX_STATE_BYTES:
            raise ValueError(
                f"the state of a retry has {len(self.state)} bytes; at most {MAX_STATE_BYTES}"
            )


def retry_headers(note: RetryNote) -> Headers:
    """The headers to append to the record's own, earlier notes taken out."""
    headers = [
        (f"{_PREFIX}source", note.source.encode()),
        (f"{_PREFIX}partition", str(note.partition).encode()),
        (f"{_PREFIX}offset", str(note.offset).encode()),
        (f"{_PREFIX}failures", str(note.failures).encode()),
        (f"{_PREFIX}delay_ms", str(note.delay_ms).encode()),
    ]
    if note.state:
        headers.append((f"{_PREFIX}state", note.state))
    return headers


def read_retry_note(headers: Iterable[tuple[str, bytes | None]]) -> RetryNote | None:
    """The note of a record from a retry topic; None if it has none that makes sense."""
    named = {name: raw for name, raw in headers if name.startswith(_PREFIX) and raw is not None}
    try:
        return RetryNote(
            source=named[f"{_PREFIX}source"].decode(),
            partition=int(named.get(f"{_PREFIX}partition", b"-1")),
            offset=int(named.get(f"{_PREFIX}offset", b"-1")),
            failures=int(named[f"{_PREFIX}failures"]),
            delay_ms=int(named[f"{_PREFIX}delay_ms"]),
            state=named.get(f"{_PREFIX}state", b""),
        )
    except (KeyError, ValueError):
        return None


def without_retry_note(headers: Iterable[tuple[str, bytes]]) -> Headers:
    """The record's own headers."""
    return [(name, raw) for name, raw in headers if not name.startswith(_PREFIX)]


def retry_probe_headers() -> Headers:
    """The headers of a record that is written only to learn the broker's time; all skip it."""
    return [(_PROBE, b"1")]


def is_retry_probe(headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Whether the record carries no job and is to be skipped."""
    return any(name == _PROBE for name, _ in headers)
