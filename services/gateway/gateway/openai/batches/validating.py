"""The first pass over an input file: every line is looked at before any line runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from penstock_contracts.batches import BatchProblem

from gateway.openai.batches.checking import LineChecker, LineFault
from gateway.openai.batches.lines import RawLine

__all__ = ["FileReport", "look_through"]

_MAX_PROBLEMS = 100
"""Listed at most; one more entry says that there are others."""
_SLICE_S = 0.002
"""Longest stretch of checking before other requests of the process get their turn."""


@dataclass(slots=True)
class FileReport:
    """What was found; without problems the batch may run."""

    total: int = 0
    model: str | None = None
    problems: list[BatchProblem] = field(default_factory=list)


async def look_through(
    lines: AsyncIterator[list[RawLine]], checker: LineChecker, *, max_lines: int
) -> FileReport:
    """Check every line; stops early only at a file with too many lines, or too many problems."""
    report = FileReport()
    clock = asyncio.get_running_loop().time
    since = clock()
    async for chunk in lines:
        for line in chunk:
            report.total += 1
            if report.total > max_lines:
                message = f"The file has more than {max_lines} requests; split it."
                report.problems.append(
                    BatchProblem(code="too_many_tasks", message=message, line=line.number)
                )
                return report
            try:
                await checker.check(line)
            except LineFault as fault:
                report.problems.append(fault.problem)
                if len(report.problems) == _MAX_PROBLEMS:
                    message = "There may be more problems in later lines; mend these first."
                    report.problems.append(BatchProblem(code="too_many_errors", message=message))
                    return report
            if clock() - since > _SLICE_S:
                await asyncio.sleep(0)
                since = clock()
    if report.total == 0:
        message = "The file has no requests; send one JSON object a line."
        report.problems.append(BatchProblem(code="empty_file", message=message))
    report.model = checker.model
    return report
