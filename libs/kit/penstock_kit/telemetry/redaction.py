"""Keeps secrets, payload and control characters out of every log line, whoever writes it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any

from penstock_kit.telemetry.secret_shapes import REDACTED, SECRET_SHAPES

__all__ = ["REDACTED", "Redactor"]

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:authorization|cookie|set_cookie|password|passwd|passphrase|secret|token|ticket|signature"
    r"|api_?key|access_?key|private_?key|secret_?key|signing_?key|id_secret)$"
)
_PAYLOAD_NAMES = frozenset(
    {
        "prompt",
        "prompts",
        "messages",
        "payload",
        "body",
        "documents",
        "request_body",
        "response_body",
    }
)


_DENSE = re.compile(r"(?<![A-Za-z0-9+_-])[A-Za-z0-9+_=-]{24,}(?![A-Za-z0-9+_-])")
_MIN_BITS_PER_CHAR = 3.7
"""24 random base64 characters have about 4.2 bits each, words and identifiers below 3.7."""
_MIN_DIGITS = 2

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_LF = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_MULTILINE_NAMES = frozenset({"exception", "stack"})

_MAX_SCANNED_CHARS = 65_536
_MAX_VALUE_CHARS = 2_000
_MAX_TRACE_CHARS = 16_000
_MAX_NAME_CHARS = 64
_SHORT_CHARS = 64
_REMEMBERED = 512
"""Short texts and names that are not cleaned anew: most of a line is what the last one held."""
_PLAIN_NAME = re.compile(r"[a-z_]{1,23}", re.ASCII)
_MAX_ITEMS = 50
_MAX_DEPTH = 6


class Redactor:
    """A structlog processor.

    `known` are secrets of this process (provider keys, the id secret): wherever one of them turns
    up, it is removed, whatever its shape.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        literal = sorted({secret for secret in known if len(secret) >= 6}, key=len, reverse=True)  # noqa: PLR2004 - shorter ones would tear words apart
        self._known = re.compile("|".join(map(re.escape, literal))) if literal else None
        self._short_text = lru_cache(_REMEMBERED)(self._cleaned)
        self._short_name = lru_cache(_REMEMBERED)(self._cleaned_name)

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """The event with every name and value cleaned."""
        return self._mapping(event, depth=0)

    def text(self, text: str, *, keep_lines: bool = False) -> str:
        """One string without secrets and control characters, capped."""
        if len(text) <= _SHORT_CHARS and not keep_lines:
            return self._short_text(text)
        return self._cleaned(text, keep_lines=keep_lines)

    def _cleaned(self, text: str, *, keep_lines: bool = False) -> str:
        cap = _MAX_TRACE_CHARS if keep_lines else _MAX_VALUE_CHARS
        clean = text[:_MAX_SCANNED_CHARS]
        if self._known is not None:
            clean = self._known.sub(REDACTED, clean)
        lower = clean.lower()
        for shape in SECRET_SHAPES:
            clean = shape.cleaned(clean, lower)
        clean = _DENSE.sub(_if_random, clean)
        clean = (_CONTROL_BUT_LF if keep_lines else _CONTROL).sub(_escaped, clean)
        if keep_lines:
            # Indented, so that no line of a message can pose as an entry of its own.
            clean = clean.replace("\n", "\n    ")
        if len(clean) > cap or len(text) > _MAX_SCANNED_CHARS:
            clean = f"{clean[:cap]}… ({len(text)} characters)"
        return clean

    def _mapping(self, mapping: Mapping[Any, Any], *, depth: int) -> dict[str, Any]:
        cleaned: dict[str, Any] = {}
        for name, value in list(mapping.items())[:_MAX_ITEMS]:
            key, stand_in = self._name(str(name))
            if stand_in is not None and value is not None and not isinstance(value, bool):
                cleaned[key] = stand_in
            else:
                cleaned[key] = self._value(value, depth=depth, keep_lines=key in _MULTILINE_NAMES)
        return cleaned

    def _name(self, name: str) -> tuple[str, str | None]:
        """A name without secrets, and what stands for its value, if that is never shown."""
        return self._short_name(name) if len(name) <= _SHORT_CHARS else self._cleaned_name(name)

    def _cleaned_name(self, name: str) -> tuple[str, str | None]:
        key = name if self._is_plain(name) else self.text(name)[:_MAX_NAME_CHARS]
        plain = key.lower().replace("-", "_")
        if _SECRET_NAME.search(plain):
            return key, REDACTED
        return key, "[payload]" if plain in _PAYLOAD_NAMES else None

    def _is_plain(self, name: str) -> bool:
        return _PLAIN_NAME.fullmatch(name) is not None and (
            self._known is None or self._known.search(name) is None
        )

    def _value(self, value: Any, *, depth: int, keep_lines: bool = False) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value if not isinstance(value, int) or abs(value) < 1 << 53 else str(value)
        if isinstance(value, str):
            return self.text(value, keep_lines=keep_lines)
        if isinstance(value, bytes | bytearray | memoryview):
            return f"[{len(value)} bytes]"
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            return self._collection(value, depth=depth + 1)
        return self.text(_described(value))

    def _collection(self, value: Any, *, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            return "[nested too deep]"
        if isinstance(value, Mapping):
            return self._mapping(value, depth=depth)
        return [self._value(item, depth=depth) for item in list(value)[:_MAX_ITEMS]]


def _described(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - the edge: a log line must not fail on a broken __str__
        return f"[{type(value).__name__}: {type(error).__name__} in __str__]"


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found.group()):02x}" if found.group() != "\n" else "\\n"


def _if_random(found: re.Match[str]) -> str:
    word = found.group()
    digits = sum(char.isdigit() for char in word)
    is_mixed = word.lower() != word and word.upper() != word and digits >= _MIN_DIGITS
    return REDACTED if is_mixed and _bits_per_char(word) >= _MIN_BITS_PER_CHAR else word


def _bits_per_char(word: str) -> float:
    total = len(word)
    return -sum(n / total * math.log2(n / total) for n in Counter(word).values())
