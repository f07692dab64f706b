"""What a job's events mean: which terminal event counts, and what the output was.

The rule is the contract's, written down again without looking at the product's code: a terminal
event of attempt a counts only if no `started` of an attempt b > a stands before it; the first that
counts is the job's end for ever. All others are superseded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.promises.checker.evidence import Event

__all__ = ["TERMINAL", "Folded", "deltas_text", "fold", "output_text"]

TERMINAL = frozenset({"completed", "failed", "cancelled", "expired", "unknown_outcome"})


@dataclass(frozen=True, slots=True)
class Folded:
    """`end` is the visible terminal event; `superseded` are those that must not be seen."""

    end: Event | None
    superseded: tuple[Event, ...]

    @property
    def status(self) -> str | None:
        """The visible end in one word."""
        return None if self.end is None else self.end.type


def fold(events: Iterable[Event]) -> Folded:
    """Fold a job's events in the order of the log."""
    newest, end = 0, None
    superseded: list[Event] = []
    for event in events:
        if event.type == "started":
            newest = max(newest, event.attempt)
        if event.type not in TERMINAL:
            continue
        if end is None and event.attempt >= newest:
            end = event
        elif end is None or event.body != end.body:
            superseded.append(event)
    return Folded(end, tuple(superseded))


def output_text(output: dict[str, Any] | None) -> str | None:
    """The text of a chat or generate output; None for others."""
    if not output:
        return None
    if output.get("kind") == "chat":
        choices = output.get("choices") or []
        return str(choices[0].get("text", "")) if choices else ""
    return str(output["text"]) if "text" in output else None


def deltas_text(deltas: Sequence[dict[str, Any]] | None) -> str:
    """The text that deltas add to the first choice."""
    return "".join(
        str(delta["text"])
        for delta in deltas or []
        if delta.get("type") == "text" and delta.get("choice", 0) == 0
    )
