"""Texts that wait for the model, and the choice of the next batch: plain state, no tasks."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from embedder.ports import TokenizedText, Vectors

__all__ = ["Batch", "BatchPolicy", "Item", "Ticket", "Urgency", "WaitingTexts"]


class Urgency(Enum):
    """Who goes first when the model is busy."""

    QUERY = "query"
    """Somebody waits for it: a search."""
    BULK = "bulk"
    """Documents and lists of texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPolicy:
    """How batches are formed.

    Attributes:
        max_tokens: padded tokens per call (texts x longest); one longer text still runs alone.
        max_texts: texts per call.
        max_padding: how much shorter than the longest text of its batch a text may be, as a share.
        free_padding: up to so many tokens shorter it may always join, for a call has its own cost.
        max_bulk_wait_s: after so long without a bulk batch, waiting bulk goes before queries once.
        max_waiting_texts: bulk texts that may wait; more wait outside.
    """

    max_tokens: int = 1024
    max_texts: int = 64
    max_padding: float = 0.15
    free_padding: int = 8
    max_bulk_wait_s: float = 1.0
    max_waiting_texts: int = 8192


class Ticket:
    """One job's texts on their way through the model; `done` resolves with the last vector.

    Attributes:
        billed_tokens: what the provider counted for the texts of calls that are over; None if it
            did not say.
        counted_tokens: our own count of the same texts.
        under_way_tokens: our count of the texts in calls whose end is not known.
        is_exact: False where the bill of a batch of several jobs was divided by length.
    """

    def __init__(
        self,
        texts: Sequence[TokenizedText],
        *,
        urgency: Urgency = Urgency.BULK,
        dimensions: int | None = None,
    ) -> None:
        self.texts = texts
        self.urgency = urgency
        self.dimensions = dimensions
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.billed_tokens: int | None = 0
        self.counted_tokens = 0
        self.under_way_tokens = 0
        self.is_exact = True
        self._vectors: Vectors | None = None
        self._missing = len(texts)

    @property
    def vectors(self) -> Vectors:
        """(texts, dimensions) float32 in the order of the texts; once `done`."""
        assert self._vectors is not None, "vectors exist once done"
        return self._vectors

    def fill(self, index: int, vector: Vectors) -> None:
        """Take the vector of one text, (dimensions,) float32."""
        if self._vectors is None:
            self._vectors = np.empty((len(self.texts), len(vector)), dtype=np.float32)
        self._vectors[index] = vector
        self._missing -= 1
        if self._missing == 0 and not self.done.done():
            self.done.set_result(None)

    def bill(self, tokens: int | None, *, counted: int, is_exact: bool) -> None:
        """Add what the provider counted for some of the texts; one None makes the sum unknown."""
        self.counted_tokens += counted
        known = self.billed_tokens is not None and tokens is not None
        self.billed_tokens = (self.billed_tokens or 0) + (tokens or 0) if known else None
        self.is_exact = self.is_exact and is_exact

    def fail(self, error: Exception) -> None:
        """End the job's wait; later errors of the same job are dropped."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One text of a ticket."""

    ticket: Ticket
    index: int
    text: TokenizedText


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes into one call of the model."""

    items: Sequence[Item]
    urgency: Urgency
    dimensions: int | None


class _Shelf:
    """Texts that may share a batch, sorted by length; their tickets take turns.

    A batch is built down from the longest text of the ticket whose turn it is, with texts of any
    ticket that are as long or a little shorter: little of the call is padding then.
    """

    def __init__(self) -> None:
        self._sorted: list[tuple[int, int, Item]] = []
        self._places: dict[Ticket, list[tuple[int, int]]] = {}
        self._turns: deque[Ticket] = deque()
        self._serial = 0

    def __len__(self) -> int:
        return len(self._sorted)

    def tickets(self) -> Iterator[Ticket]:
        return iter(self._places)

    def add(self, ticket: Ticket) -> None:
        places = []
        for index, text in enumerate(ticket.texts):
            self._serial += 1
            insort(self._sorted, (text.tokens, self._serial, Item(ticket, index, text)))
            places.append((text.tokens, self._serial))
        self._places[ticket] = sorted(places)
        self._turns.append(ticket)

    def withdraw(self, ticket: Ticket) -> int:
        if self._places.pop(ticket, None) is None:
            return 0
        self._turns.remove(ticket)
        before = len(self._sorted)
        self._sorted = [entry for entry in self._sorted if entry[2].ticket is not ticket]
        return before - len(self._sorted)

    def take(self, policy: BatchPolicy) -> list[Item]:
        ticket = self._turns[0]
        self._turns.rotate(-1)
        longest, serial = self._places[ticket][-1]
        room = max(1, min(policy.max_texts, policy.max_tokens // max(1, longest)))
        anchor = bisect_left(self._sorted, (longest, serial))
        end = min(bisect_left(self._sorted, (longest + 1, 0)), anchor + room)
        shortest = min(longest - policy.free_padding, round(longest * (1 - policy.max_padding)))
        start = max(end - room, bisect_left(self._sorted, (shortest, 0)))
        taken = self._sorted[start:end]
        del self._sorted[start:end]
        for tokens, number, item in taken:
            self._forget(item.ticket, (tokens, number))
        return [item for _, _, item in taken]

    def _forget(self, ticket: Ticket, place: tuple[int, int]) -> None:
        places = self._places[ticket]
        del places[bisect_left(places, place)]
        if not places:
            del self._places[ticket]
            self._turns.remove(ticket)


class WaitingTexts:
    """All texts that wait for one model."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._shelves: dict[Urgency, dict[int | None, _Shelf]] = {
            urgency: {} for urgency in Urgency
        }
        self._bulk_waits_since: float | None = None

    def count(self, urgency: Urgency) -> int:
        """How many texts wait."""
        return sum(len(shelf) for shelf in self._shelves[urgency].values())

    def has_room_for(self, ticket: Ticket) -> bool:
        """Whether the ticket may be added: queries and a first bulk job always, else by limit."""
        if ticket.urgency is Urgency.QUERY:
            return True
        waiting = self.count(Urgency.BULK)
        return waiting == 0 or waiting + len(ticket.texts) <= self._policy.max_waiting_texts

    def add(self, ticket: Ticket, *, now: float) -> None:
        """Queue a ticket's texts; it has at least one."""
        if ticket.urgency is Urgency.BULK and self._bulk_waits_since is None:
            self._bulk_waits_since = now
        self._shelves[ticket.urgency].setdefault(ticket.dimensions, _Shelf()).add(ticket)

    def withdraw(self, ticket: Ticket) -> int:
        """Take back what still waits of a ticket; the number of texts."""
        shelf = self._shelves[ticket.urgency].get(ticket.dimensions)
        count = 0 if shelf is None else shelf.withdraw(ticket)
        self._drop_empty(ticket.urgency, ticket.dimensions)
        return count

    def withdraw_all(self) -> list[Ticket]:
        """Take everything back; the tickets."""
        shelves = [shelf for group in self._shelves.values() for shelf in group.values()]
        for group in self._shelves.values():
            group.clear()
        return [ticket for shelf in shelves for ticket in shelf.tickets()]

    def next_batch(self, *, now: float) -> Batch | None:
        """Remove and return the texts that go next; None if nothing waits."""
        urgency = self._turn(now)
        group = self._shelves[urgency]
        if not group:
            return None
        dimensions = next(iter(group))
        shelf = group.pop(dimensions)
        items = shelf.take(self._policy)
        if len(shelf):
            group[dimensions] = shelf  # at the end: shelves take turns
        if urgency is Urgency.BULK:
            self._bulk_waits_since = now if group else None
        return Batch(items, urgency, dimensions)

    def _turn(self, now: float) -> Urgency:
        if not self._shelves[Urgency.QUERY]:
            return Urgency.BULK
        since = self._bulk_waits_since
        is_aged = since is not None and now - since >= self._policy.max_bulk_wait_s
        return Urgency.BULK if is_aged and self._shelves[Urgency.BULK] else Urgency.QUERY

    def _drop_empty(self, urgency: Urgency, dimensions: int | None) -> None:
        group = self._shelves[urgency]
        if dimensions in group and not len(group[dimensions]):
            del group[dimensions]
        if urgency is Urgency.BULK and not group:
            self._bulk_waits_since = None
