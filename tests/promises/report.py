"""Verdicts for people: a table of promise, figure, verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from tests.promises.checker.verdict import Verdict

__all__ = ["summary_lines", "verdict_lines"]

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


def summary_lines(verdicts: Iterable[Verdict]) -> list[str]:
    """Each promise once, over all runs."""
    runs: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        runs[verdict.promise].append(verdict)
    lines = ["", "promise  kept in   verdict  claim"]
    for promise, found in sorted(runs.items(), key=lambda item: _order(item[0])):
        judged = [verdict for verdict in found if verdict.is_kept is not None]
        kept = sum(verdict.is_kept is True for verdict in judged)
        word = "kept" if kept == len(judged) else "BROKEN"
        share = f"{kept} of {len(judged)}"
        lines.append(f"{promise:7}  {share:8}  {word:7}  {found[0].claim}")
    return lines


def _order(promise: str) -> tuple[int, str]:
    digits = "".join(letter for letter in promise if letter.isdigit())
    return int(digits), promise
