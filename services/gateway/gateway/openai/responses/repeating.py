"""Whether an attempt that begins anew says again what a reader was shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum

from gateway.openai.responses.steps import Item, Part, Step

__all__ = ["Repeat", "already_shown", "verdict"]


class Repeat(Enum):
    """How an attempt stands to what was shown."""

    SO_FAR = "it says the same, and less so far"
    CAUGHT_UP = "it says all that was shown, and perhaps more"
    OTHERWISE = "it says something else"


def verdict(shown: Sequence[Item], fresh: Sequence[Item]) -> Repeat:
    """Compare the items of two attempts, in order."""
    old, new = list(_flat(shown)), list(_flat(fresh))
    for place, (name, part) in enumerate(new):
        if place >= len(old):
            break
        known_name, known = old[place]
        if name != known_name:
            return Repeat.OTHERWISE
        is_last_old, is_last_new = place == len(old) - 1, place == len(new) - 1
        if part.text == known.text:
            continue
        if part.text.startswith(known.text) and is_last_old and known.is_open:
            continue
        if known.text.startswith(part.text) and is_last_new and part.is_open:
            return Repeat.SO_FAR
        return Repeat.OTHERWISE
    if len(new) < len(old):
        return Repeat.SO_FAR
    return Repeat.CAUGHT_UP


def already_shown(shown: Sequence[Item], held: Sequence[Step]) -> Iterator[Step]:
    """The steps that go beyond what was shown."""
    left = {
        (item.ordinal, place): len(part.text)
        for item in shown
        for place, part in enumerate(item.parts)
    }
    for step in held:
        place = (step.item.ordinal, step.part)
        known = shown[step.item.ordinal] if step.item.ordinal < len(shown) else None
        if known is None or (step.part >= len(known.parts) and step.kind != "item_done"):
            yield step
        elif step.kind == "delta":
            skipped = min(left[place], len(step.text))
            left[place] -= skipped
            if skipped < len(step.text):
                yield replace(step, text=step.text[skipped:])
        elif step.kind == "item_done":
            if known.is_open:
                yield step
        elif step.kind in ("text_done", "part_done") and known.parts[step.part].is_open:
            yield step


def _flat(items: Sequence[Item]) -> Iterator[tuple[tuple[object, ...], Part]]:
    for item in items:
        for part in item.parts:
            yield (item.kind, item.name, item.call_id, item.call, part.type), part
