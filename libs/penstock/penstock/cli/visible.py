"""Text that others wrote, made safe for a terminal."""

from __future__ import annotations

import re

__all__ = ["visible"]

_CONTROLS = "\x00-\x1f\x7f-\x9f"
_INVISIBLE = "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f"
"""Turns of writing direction and marks without width can make a line read as another one."""
_LINE = re.compile(f"[{_CONTROLS}{_INVISIBLE}]")
_TEXT = re.compile(f"[{_CONTROLS.replace(chr(0x1F), chr(0x09))}\x0b-\x1f{_INVISIBLE}]")


def visible(text: str | bytes | None, *, keep_lines: bool = False) -> str:
    """The text with every character escaped that could steer the terminal; None is empty.

    With `keep_lines` line feeds stay.
    """
    if text is None:
        return ""
    if isinstance(text, bytes):
        text = text.decode(errors="backslashreplace")
    return (_TEXT if keep_lines else _LINE).sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - one byte
