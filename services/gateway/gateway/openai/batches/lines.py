"""A stored file line by line, never more of it in memory than one line and one chunk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

__all__ = ["RawLine", "numbered_lines"]


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line that is not blank; `number` counts all lines from 1. `raw` None: it was too long."""

    number: int
    raw: bytes | None


async def numbered_lines(
    chunks: AsyncIterator[bytes], *, max_bytes: int
) -> AsyncIterator[list[RawLine]]:
    """The lines of a file, chunk by chunk; of a line beyond `max_bytes` nothing is kept."""
    number = 0
    rest = b""
    is_too_long = False
    async for chunk in chunks:
        *whole, last = (rest + chunk).split(b"\n")
        lines = []
        for raw in whole:
            number += 1
            if is_too_long or len(raw) > max_bytes:
                is_too_long = False
                lines.append(RawLine(number, None))
            elif raw.strip():
                lines.append(RawLine(number, raw))
        rest = last
        if len(rest) > max_bytes:
            rest, is_too_long = b"", True
        if lines:
            yield lines
    if is_too_long:
        yield [RawLine(number + 1, None)]
    elif rest.strip():
        yield [RawLine(number + 1, rest)]
