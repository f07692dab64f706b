"""Verdicts for people: a table of promise, figure, verdict."""

from __future__ import annotations

from collections.abc import Iterable

from tests.promises.checker.verdict import Verdict

__all__ = ["verdict_lines"]

_WORDS = {True: "kept", False: "BROKEN", None: "not judged"}


def verdict_lines(verdicts: Iterable[Verdict]) -> list[str]:
    """One line per promise, and one per offender below a broken one."""
    lines = []
    for verdict in verdicts:
        word = _WORDS[verdict.is_kept]
        lines.append(f"{verdict.promise:4} {word:10} {verdict.claim:32} {verdict.figure}")
        if verdict.is_kept is False:
            lines += [f"     {'':10}   {offender}" for offender in verdict.offenders]
    return lines
