"""Commands as Redis reads them: packed by hand, several times faster than the client does."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Argument", "packed"]

Argument = str | bytes | int | float


def packed(parts: Iterable[Argument]) -> bytes:
    """One command, an array of bulk strings.

    Source: https://redis.io/docs/latest/develop/reference/protocol-spec/
    """
    encoded = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    pieces = [b"*%d\r\n" % len(encoded)]
    pieces += [b"$%d\r\n%b\r\n" % (len(part), part) for part in encoded]
    return b"".join(pieces)
