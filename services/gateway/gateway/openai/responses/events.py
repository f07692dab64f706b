"""A job's events as the events of a response: pure, the same numbers for every reader.

0 is `response.created`, then `response.queued` where it runs in the background, then
`response.in_progress`; after it every step of the output has the next number. An attempt that makes
void what an earlier one had sent counts on from (attempt - 1) x 1,000,000. While it says again what
was shown already, nothing goes out. Where it says something else, the items shown are closed as
incomplete, and new items begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from penstock_contracts.codec import dumps
from penstock_contracts.parts import has_content
from penstock_contracts.snapshot import Snapshot

from gateway.openai.ending import Ending
from gateway.openai.feed import SnapshotItem
from gateway.openai.responses.objects import (
    Outcome,
    ResponseFacts,
    incomplete_reason,
    item_id,
    item_object,
    response_object,
)
from gateway.openai.responses.repeating import Repeat, already_shown, verdict
from gateway.openai.responses.results import first_choice
from gateway.openai.responses.showing import payload_of
from gateway.openai.responses.steps import AttemptSteps, Item, OtherwiseError, Step
from gateway.ports import StreamEvent

__all__ = ["Event", "ResponseEvents", "event_bytes", "outcome_of"]

_ATTEMPT: Final = 1_000_000
"""Numbers that an attempt has for itself: more events than any answer has tokens."""
_LOST: Final = 500_000
"""Added where pieces are no longer kept, so that nobody takes one number for another."""
_CLOSING: Final = 200
"""Numbers at the end of the earlier attempt's, for closing what it left open."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; it stands for all numbers from `first` on where pieces were merged into it."""

    number: int
    first: int
    payload: Mapping[str, Any]


class ResponseEvents:
    """Translates the stream of one response for one reader, from its begin."""

    def __init__(self, facts: ResponseFacts) -> None:
        self._facts = facts
        self._running_number = 2 if facts.is_background else 1
        self._is_running = False
        self._attempt = 0
        self._steps = AttemptSteps(self._running_number + 1)
        self._shown: AttemptSteps = self._steps
        self._held: list[Step] | None = None
        self._offset = 0
        self._generation = 0
        self.is_lost = False

    def begin(self) -> list[Event]:
        """What every stream begins with; nothing of the job need be known."""
        events = [self._lifecycle("response.created", 0)]
        if self._facts.is_background:
            events.append(self._lifecycle("response.queued", 1))
        return events

    def of(self, item: StreamEvent | SnapshotItem) -> list[Event]:
        """What one event of the job becomes; its end is for `end`."""
        attempt = item.position.attempt
        if isinstance(item, SnapshotItem):
            return self._snapshot(item.snapshot, recovered=item.recovered)
        if item.type == "started":
            return self._run()
        if item.type == "reset":
            self._begin_anew(attempt)
        if item.type != "delta":
            return []
        events = self._run()
        if attempt != self._attempt and self._steps.items:
            self._begin_anew(attempt)  # its reset was lost
        self._attempt = attempt
        for delta, count in _counted(orjson.loads(item.value)):
            events += self._show(list(self._steps.take(delta, count)))
        return events

    def end(self, ending: Ending) -> list[Event]:
        """What the end of the job becomes; the last event has the whole response."""
        events: list[Event] = []
        if ending.status == "completed" and ending.output is not None:
            events += self._run()
            events += self._complete(first_choice(ending.output))
        items = [self._shown_object(item) for item in self._steps.items]
        outcome = outcome_of(ending, items=items)
        number = self._steps.number if self._is_running else self._running_number
        events.append(self._lifecycle(f"response.{outcome.status}", number, outcome))
        return events

    def _run(self) -> list[Event]:
        if self._is_running:
            return []
        self._is_running = True
        return [self._lifecycle("response.in_progress", self._running_number)]

    def _begin_anew(self, attempt: int) -> None:
        self._attempt = attempt
        if self._held is None:
            self._shown = self._steps
        self._steps = AttemptSteps((attempt - 1) * _ATTEMPT)
        if self._shown.items:
            self._held = []
        else:
            self._shown = self._steps
            self.is_lost = True  # others may have seen what is void now, and is not kept

    def _complete(self, choice: Mapping[str, Any]) -> list[Event]:
        try:
            steps = list(self._steps.complete(choice))
        except OtherwiseError:
            if self._held is None:
                self._shown, self._held = self._steps, []
            self._steps = AttemptSteps(self._steps.number + _CLOSING + 1)
            steps = list(self._steps.complete(choice))
        events = self._show(steps)
        return events if self._held is None else [*events, *self._deviate()]

    def _snapshot(self, snapshot: Snapshot, *, recovered: bool) -> list[Event]:
        """What of a snapshot is news; it has all output of its attempt, or none."""
        if snapshot.attempt == 0:
            return []
        events = self._run()
        if snapshot.attempt != self._attempt and (snapshot.had_reset or self._steps.items):
            self._begin_anew(snapshot.attempt)
        self._attempt = snapshot.attempt
        if not snapshot.deltas:
            has_result = snapshot.output is not None or snapshot.output_ref is not None
            if has_result or not recovered:
                self.is_lost = True
                self._steps.number += _LOST
            return events
        return [*events, *self._show(self._news(snapshot))]

    def _news(self, snapshot: Snapshot) -> list[Step]:
        known = self._steps
        whole = AttemptSteps(self._first_number(snapshot) if known.items else known.number)
        counts = snapshot.pieces or [int(has_content(delta)) for delta in snapshot.deltas]
        news: list[Step] = []
        for delta, count in zip(snapshot.deltas, counts, strict=False):
            news += [
                _beyond(step, known) if step.first < known.number else step
                for step in whole.take(delta.model_dump(exclude_none=True), count)
                if step.number >= known.number
            ]
        if self._shown is known:
            self._shown = whole
        self._steps = whole
        return news

    def _first_number(self, snapshot: Snapshot) -> int:
        if snapshot.had_reset:
            return (snapshot.attempt - 1) * _ATTEMPT
        return self._running_number + 1

    def _show(self, steps: list[Step]) -> list[Event]:
        if self._held is None:
            return [self._event(step) for step in steps]
        self._held += steps
        told = verdict(self._shown.items, self._steps.items)
        if told is Repeat.SO_FAR:
            return []
        if told is Repeat.OTHERWISE:
            return self._deviate()
        fresh = already_shown(self._shown.items, self._held)
        self._held, self._shown = None, self._steps
        return [self._event(step) for step in fresh]

    def _deviate(self) -> list[Event]:
        held, self._held = self._held or [], None
        old = self._shown
        first = held[0].number if held else self._steps.number
        old.number = first - _CLOSING
        events = [self._event(step) for step in old.close("incomplete")]
        self._offset += len(old.items)
        self._generation += 1
        self._shown = self._steps
        return [*events, *(self._event(step) for step in held)]

    def _event(self, step: Step) -> Event:
        id_ = self._id(step.item)
        place = self._offset + step.item.ordinal
        payload = payload_of(step, item_id=id_, output_index=place)
        return Event(step.number, step.first, payload)

    def _id(self, item: Item) -> str:
        return item_id(self._facts.job, item, generation=self._generation)

    def _shown_object(self, item: Item) -> dict[str, Any]:
        return item_object(item, self._id(item))

    def _lifecycle(self, kind: str, number: int, outcome: Outcome | None = None) -> Event:
        if outcome is None:
            is_waiting = self._facts.is_background and kind != "response.in_progress"
            outcome = Outcome(status="queued" if is_waiting else "in_progress")
        response = response_object(self._facts, outcome)
        payload = {"type": kind, "sequence_number": number, "response": response}
        return Event(number, number, payload)


def outcome_of(ending: Ending, *, items: list[dict[str, Any]]) -> Outcome:
    """How a response ended; `items` are its output where it completed."""
    if ending.status == "completed" and ending.output is not None:
        reason = incomplete_reason(first_choice(ending.output).get("finish_reason"))
        return Outcome(
            status="completed" if reason is None else "incomplete",
            output=items,
            usage=ending.usage,
            reason=reason,
            model=ending.model,
            completed_at=ending.ended_at if reason is None else None,
        )
    if ending.status == "cancelled":
        return Outcome(status="cancelled", usage=ending.usage)
    error = {"status": ending.status, **(ending.error or {})}
    return Outcome(status="failed", usage=ending.usage, error=error)


def event_bytes(events: Iterable[Event]) -> bytes:
    """Events as server-sent events."""
    return b"".join(_frames(events))


def _frames(events: Iterable[Event]) -> Iterator[bytes]:
    for event in events:
        kind = event.payload["type"].encode()
        yield b"event: %b\nid: %d\ndata: %b\n\n" % (kind, event.number, dumps(event.payload))


def _counted(value: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], int]]:
    deltas, pieces = value["deltas"], value.get("pieces")
    for place, delta in enumerate(deltas):
        if pieces is not None:
            yield delta, pieces[place]
        else:
            yield delta, int(bool(delta.get("text") or delta.get("arguments")))


def _beyond(step: Step, known: AttemptSteps) -> Step:
    """What of a merged delta has not been shown."""
    said = sum(map(len, known.items[step.item.ordinal].parts[step.part].texts))
    so_far = sum(map(len, step.item.parts[step.part].texts))
    text = step.text[len(step.text) - (so_far - said) :]
    return Step(step.number, known.number, "delta", step.item, step.part, text)
