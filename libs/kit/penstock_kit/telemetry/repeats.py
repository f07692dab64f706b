"""What a Kafka client says ten times a second while a broker is away, said once in a while."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Final

__all__ = ["RepeatFilter"]

_EACH_S: Final = 10.0
_MOST_KINDS: Final = 256
"""Kinds of line remembered; more are forgotten all at once, and heard again."""
_NUMBERS: Final = re.compile(r"\d+")


class RepeatFilter(logging.Filter):
    """Lets each kind of line of some libraries pass once per ten seconds.

    Lines of one logger that differ in numbers only are of one kind. The next line that passes
    tells in `left_out` how many did not. Lines of other loggers all pass.
    """

    def __init__(
        self, *loggers: str, now: Callable[[], float] = time.monotonic, each_s: float = _EACH_S
    ) -> None:
        """`loggers`: these and all below them."""
        super().__init__()
        self._loggers = loggers
        self._below = tuple(f"{name}." for name in loggers)
        self._now = now
        self._each_s = each_s
        self._passed: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged. Of two threads at once both may pass: that is no harm."""
        if record.name not in self._loggers and not record.name.startswith(self._below):
            return True
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # a format that does not fit: logging itself tells of it
            return True
        now, kind = self._now(), (record.name, _NUMBERS.sub("#", text))
        passed_at, left_out = self._passed.get(kind, (-self._each_s, 0))
        if now - passed_at < self._each_s:
            self._passed[kind] = (passed_at, left_out + 1)
            return False
        if len(self._passed) >= _MOST_KINDS:
            self._passed.clear()
        self._passed[kind] = (now, 0)
        if left_out:
            record.left_out = left_out
        return True
