"""What lies finished beyond a committed offset, as the text that Kafka keeps beside the offset.

Offsets alone can only say "everything below": after a crash all that had finished beyond a slow
record would be run again. A bitmap of at most a few kilobytes says which of it is done.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Final

__all__ = ["decode_note", "encode_note"]

_VERSION: Final = "1:"
_MAX_BYTES: Final = 2900
"""In base64 below 4,096 characters, the broker's default `offset.metadata.max.bytes`. What does
not fit is run again after a crash, as if there were no note."""


def encode_note(position: int, finished: Iterable[int]) -> str:
    """The finished offsets from `position` on; the empty string if there are none."""
    bits = bytearray()
    for offset in finished:
        at, bit = divmod(offset - position, 8)
        if not 0 <= at < _MAX_BYTES:
            continue
        if at >= len(bits):
            bits.extend(bytes(at + 1 - len(bits)))
        bits[at] |= 1 << bit
    return _VERSION + base64.b64encode(bits).decode() if bits else ""


def decode_note(position: int, note: str) -> frozenset[int]:
    """The offsets that a note tells of; none if it is not one of ours."""
    if not note.startswith(_VERSION):
        return frozenset()
    try:
        bits = base64.b64decode(note.removeprefix(_VERSION), validate=True)
    except (binascii.Error, ValueError):
        return frozenset()
    return frozenset(
        position + 8 * at + bit
        for at, byte in enumerate(bits)
        for bit in range(8)
        if byte >> bit & 1
    )
