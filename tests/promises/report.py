"""Verdicts for people: a table of promise, figure, verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

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


def summary_lines(runs: Iterable[tuple[str, Sequence[Verdict]]]) -> list[str]:
    """Each promise once, over all runs, with the figure of one run: a broken one if there is."""
    found: dict[str, list[tuple[str, Verdict]]] = defaultdict(list)
    for part, verdicts in runs:
        for verdict in verdicts:
            if verdict.is_kept is not None:
                found[verdict.promise].append((part, verdict))
    lines = ["", "promise  verdict  kept in   claim                            figure (of one run)"]
    for promise, judged in sorted(found.items(), key=lambda item: _order(item[0])):
        kept = sum(verdict.is_kept is True for _, verdict in judged)
        word = "kept" if kept == len(judged) else "BROKEN"
        part, shown = next((one for one in judged if one[1].is_kept is False), judged[0])
        share = f"{kept} of {len(judged)}"
        lines.append(f"{promise:7}  {word:7}  {share:8}  {shown.claim:32} {shown.figure} ({part})")
    return lines


def _order(promise: str) -> tuple[int, str]:
    digits = "".join(letter for letter in promise if letter.isdigit())
    return int(digits), promise
