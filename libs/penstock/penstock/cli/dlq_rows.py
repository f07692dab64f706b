"""Letters on standard output one by one: a hundred thousand of them need no memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from penstock.cli.console import Out

__all__ = ["Rows"]

_START = '{"letters": ['


class Rows:
    """Lines for people; for programs the members of one document, which `end` completes."""

    def __init__(self, out: Out) -> None:
        self._out = out
        self.count = 0

    def add(self, document: Mapping[str, Any], line: str | None) -> None:
        """One letter; `line` None: people need not see it."""
        if self._out.json:
            self._out.write((",\n" if self.count else _START) + orjson.dumps(document).decode())
        elif line is not None:
            self._out.say(line)
        self.count += 1

    def end(self, rest: Mapping[str, Any]) -> None:
        """Complete the document with what is known now; at least one member."""
        if self._out.json:
            members = orjson.dumps(rest).decode()[1:]
            self._out.write(("" if self.count else _START) + "], " + members + "\n")
