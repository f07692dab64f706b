"""Places in a listing, newest first: opaque outside, creation time and job id inside."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from penstock_contracts.ids import is_job_id

__all__ = ["Cursor"]

_MAX_CHARS = 128
_MAX_DIGITS = 15
"""Milliseconds up to the year 9999."""


class Cursor(NamedTuple):
    """The last job of a page; the next page begins behind it."""

    created_ms: int
    job: str

    def __str__(self) -> str:
        return (
            base64.urlsafe_b64encode(f"{self.created_ms}.{self.job}".encode()).decode().rstrip("=")
        )

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The inverse of `str()`.

        Raises:
            ValueError: no cursor of ours.
        """
        sentence = "the cursor is not one of ours; take next_cursor from the page before"
        if len(text) > _MAX_CHARS or not text.isascii():
            raise ValueError(sentence)
        try:
            plain = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            raise ValueError(sentence) from None
        created, _, job = plain.partition(".")
        if not (created.isdigit() and len(created) <= _MAX_DIGITS and is_job_id(job)):
            raise ValueError(sentence)
        return cls(int(created), job)
