"""Which tool call a piece belongs to, whatever a provider numbers them: 0, 1, and so on."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CallPlaces"]


@dataclass(slots=True)
class _Known:
    id: str | None
    name: str | None


class CallPlaces:
    """The calls of one choice, in the order in which they began.

    OpenAI numbers them from 0 and sends id and name with the first piece alone. Others send index 0
    or none for all of them, as whole calls with ids of their own; count on from other numbers; send
    id or name late, or again with each piece.
    """

    def __init__(self) -> None:
        self._calls: list[_Known] = []
        self._by_index: dict[int, int] = {}

    def of(self, index: int | None, id_: str | None, name: str | None) -> int:
        """The place of the call that a piece belongs to; None is what the piece does not tell."""
        place = self._found(index, id_, name)
        if place is None:
            place = len(self._calls)
            self._calls.append(_Known(id_, name))
        call = self._calls[place]
        call.id, call.name = call.id or id_, call.name or name
        if index is not None:
            self._by_index[index] = place
        return place

    def _found(self, index: int | None, id_: str | None, name: str | None) -> int | None:
        """The place of a call that has begun; None: the piece begins another."""
        if index is not None:
            place = self._by_index.get(index)
            if place is None or not self._is_beside(self._calls[place], id_, name):
                return place
        known = [at for at, call in enumerate(self._calls) if id_ is not None and call.id == id_]
        if known or not self._calls or index is not None:
            return known[0] if known else None
        last = self._calls[-1]
        is_whole = id_ is None and name is not None and last.name is not None
        return None if is_whole or self._is_beside(last, id_, name) else len(self._calls) - 1

    @staticmethod
    def _is_beside(held: _Known, id_: str | None, name: str | None) -> bool:
        """Whether a piece is of another call than the one that is held where it says it belongs.

        Without a name it is not: some send a new id with every piece.
        """
        return name is not None and None not in (id_, held.id) and id_ != held.id
