"""Tells a beginning that nobody used from one after which a call may have been made."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import count

__all__ = ["Asks"]

_REMEMBERED = 10_000


@dataclass(slots=True)
class _Ask:
    number: int
    is_unused: bool = True


class Asks:
    """The numbers with which a process asks for attempts of jobs that may be charged once.

    A delivery asks with the same number until it is told to begin, and again once what it began is
    settled: then an attempt that the ledger has under this number was not called. What is forgotten
    here asks with a new number, as if it had called: the outcome is unknown then.
    """

    def __init__(self) -> None:
        self._numbers = count(1)
        self._asks: OrderedDict[str, _Ask] = OrderedDict()

    def number_of(self, owner: str) -> int:
        """What this delivery asks with now."""
        ask = self._asks.get(owner)
        if ask is None or not ask.is_unused:
            ask = self._asks[owner] = _Ask(next(self._numbers))
            self._asks.move_to_end(owner)
            if len(self._asks) > _REMEMBERED:
                self._asks.popitem(last=False)
        return ask.number

    def told(self, owner: str) -> None:
        """The delivery heard that it may begin: from now on it may have called."""
        if (ask := self._asks.get(owner)) is not None:
            ask.is_unused = False

    def settled(self, owner: str) -> None:
        """What it began was not called, or refused; the ledger has not heard of it."""
        if (ask := self._asks.get(owner)) is not None:
            ask.is_unused = True
