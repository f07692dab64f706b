"""Output of one attempt as numbered steps: what happens to which item, in one order for everybody.

The numbers follow from the log alone. Items open where the kind of output changes, each piece with
content is one step, and merging pieces changes neither: a merged piece only carries the number of
its last. A step knows its item by its ordinal in the attempt; how the item is called towards a
reader is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from gateway.openai.responses.results import deltas_of

__all__ = ["AttemptSteps", "Item", "ItemKind", "OtherwiseError", "Part", "Step", "StepKind"]

ItemKind = Literal["reasoning", "message", "function_call"]
StepKind = Literal["item_added", "part_added", "delta", "text_done", "part_done", "item_done"]

_PARTS: Final = {"text": "output_text", "refusal": "refusal", "reasoning": "reasoning_text"}


class OtherwiseError(Exception):
    """The result is not what its pieces say. Internal to translating."""


@dataclass(slots=True)
class Part:
    """A part of an item's content, or the arguments of a call (`type` is `arguments`)."""

    type: str
    texts: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    is_open: bool = True

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self.texts)


@dataclass(slots=True)
class Item:
    """One output item as far as it is known; `status` is that of its done step."""

    kind: ItemKind
    ordinal: int
    parts: list[Part] = field(default_factory=list)
    name: str = ""
    call_id: str = ""
    call: int = 0
    same_before: int = 0
    """Items of the kind before it in the attempt; more than 0 is rare."""
    status: Literal["in_progress", "completed", "incomplete"] = "in_progress"

    @property
    def is_open(self) -> bool:
        """Whether it may grow."""
        return self.status == "in_progress"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens to an item.

    Attributes:
        number: of the event that it becomes; `first` is lower where it stands for several.
        text: of a delta.
    """

    number: int
    first: int
    kind: StepKind
    item: Item
    part: int = 0
    text: str = ""
    logprobs: tuple[Any, ...] = ()


class AttemptSteps:
    """Turns deltas of one attempt into steps. `number` is that of the next step."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.items: list[Item] = []
        self._calls: dict[int, Item] = {}
        self._text_item: Item | None = None
        self._textless: list[Any] = []
        """Token probabilities of pieces without text; an event is counted by text alone, so these
        go with the next one, or with the end of the part."""

    def take(self, delta: Mapping[str, Any], count: int) -> Iterator[Step]:
        """The steps of a delta that stands for `count` pieces with content."""
        if delta.get("choice", 0) != 0:
            return
        if delta["type"] == "tool_call":
            yield from self._take_call(delta, count)
        elif count:
            yield from self._take_text(delta, count)
        else:
            self._textless += delta.get("logprobs") or ()

    def complete(self, choice: Mapping[str, Any]) -> Iterator[Step]:
        """What the result has and the pieces had not, then the end of all items.

        Raises:
            OtherwiseError: the result contradicts the pieces; nothing was made of it then.
        """
        missing = self._missing(choice)
        for delta in missing:
            yield from self.take(delta, 1 if delta.get("text") or delta.get("arguments") else 0)
        if not self.items:
            yield from self._open_part("message", "output_text")  # it answered, with nothing
        whole = choice.get("finish_reason") not in ("length", "content_filter")
        yield from self.close("completed" if whole else "incomplete")

    def close(self, status: Literal["completed", "incomplete"]) -> Iterator[Step]:
        """End all items that are open."""
        for item in self.items:
            if item.is_open:
                yield from self._close(item, status)

    def _take_text(self, delta: Mapping[str, Any], count: int) -> Iterator[Step]:
        kind: ItemKind = "reasoning" if delta["type"] == "reasoning" else "message"
        yield from self._open_part(kind, _PARTS[delta["type"]])
        item = self._text_item
        assert item is not None
        logprobs: tuple[Any, ...] = ()
        if delta["type"] == "text":
            logprobs = (*self._take_textless(), *(delta.get("logprobs") or ()))
        item.parts[-1].logprobs.extend(logprobs)
        yield self._delta(item, delta["text"], count, logprobs)

    def _take_textless(self) -> list[Any]:
        found, self._textless = self._textless, []
        return found

    def _open_part(self, kind: ItemKind, part_type: str) -> Iterator[Step]:
        item = self._text_item
        if item is None or item.kind != kind:
            yield from self._leave_text_item()
            item = self._text_item = self._new(kind)
            yield self._step("item_added", item)
        if item.parts and item.parts[-1].type == part_type:
            return
        if item.parts:
            yield from self._close_part(item)
        item.parts.append(Part(part_type))
        yield self._step("part_added", item)

    def _take_call(self, delta: Mapping[str, Any], count: int) -> Iterator[Step]:
        index = delta["index"]
        item = self._calls.get(index)
        if item is None:
            yield from self._leave_text_item()
            item = self._calls[index] = self._new("function_call")
            item.call = index
            item.name = delta.get("name") or ""
            item.call_id = delta.get("id") or f"call_{index}"
            item.parts.append(Part("arguments"))
            yield self._step("item_added", item)
        # Some providers tell it late; the item has it when it is done.
        item.name = item.name or delta.get("name") or ""
        if count:
            yield self._delta(item, delta.get("arguments") or "", count, ())

    def _delta(self, item: Item, text: str, count: int, logprobs: tuple[Any, ...]) -> Step:
        item.parts[-1].texts.append(text)
        first = self.number
        self.number += count
        last = self.number - 1
        return Step(last, first, "delta", item, len(item.parts) - 1, text, logprobs)

    def _leave_text_item(self) -> Iterator[Step]:
        item, self._text_item = self._text_item, None
        if item is not None:
            yield from self._close(item, "completed")

    def _close(self, item: Item, status: Literal["completed", "incomplete"]) -> Iterator[Step]:
        yield from self._close_part(item)
        item.status = status
        yield self._step("item_done", item)

    def _close_part(self, item: Item) -> Iterator[Step]:
        part = item.parts[-1]
        part.is_open = False
        if part.type == "output_text":
            part.logprobs.extend(self._take_textless())
        yield self._step("text_done", item)
        if item.kind != "function_call":
            yield self._step("part_done", item)

    def _new(self, kind: ItemKind) -> Item:
        before = sum(item.kind == kind for item in self.items)
        item = Item(kind, len(self.items), same_before=before if kind != "function_call" else 0)
        self.items.append(item)
        return item

    def _step(self, kind: StepKind, item: Item) -> Step:
        number = self.number
        self.number += 1
        return Step(number, number, kind, item, max(len(item.parts) - 1, 0))

    def _missing(self, choice: Mapping[str, Any]) -> list[dict[str, Any]]:
        calls = choice.get("tool_calls") or ()
        if any(index >= len(calls) for index in self._calls):
            raise OtherwiseError
        said = {kind: self._said(choice.get(kind) or "", part) for kind, part in _PARTS.items()}
        told = self._logprobs() + len(self._textless)
        found: list[dict[str, Any]] = []
        for delta in deltas_of(choice):
            if delta["type"] == "tool_call":
                found += self._missing_of_call(delta)
                continue
            kind, text, logprobs = delta["type"], delta["text"], delta.get("logprobs") or ()
            skipped, known = min(said[kind], len(text)), min(told, len(logprobs))
            said[kind], told = said[kind] - skipped, told - known
            if skipped < len(text) or known < len(logprobs):
                found.append({**delta, "text": text[skipped:], "logprobs": logprobs[known:]})
        return found

    def _missing_of_call(self, delta: dict[str, Any]) -> list[dict[str, Any]]:
        item = self._calls.get(delta["index"])
        if item is None:
            return [delta]
        rest = _rest(item.parts[0].text, delta["arguments"])
        is_named = item.name == delta["name"]
        return [] if is_named and not rest else [{**delta, "arguments": rest}]

    def _said(self, whole: str, part_type: str) -> int:
        """How many characters of a text were said."""
        parts = (part for item in self.items for part in item.parts)
        said = "".join(part.text for part in parts if part.type == part_type)
        return len(whole) - len(_rest(said, whole))

    def _logprobs(self) -> int:
        return sum(len(part.logprobs) for item in self.items for part in item.parts)


def _rest(said: str, whole: str) -> str:
    if not whole.startswith(said):
        raise OtherwiseError
    return whole[len(said) :]
