"""Stops the process before it dead-letters everything: then the records are not what is wrong."""

from __future__ import annotations

from collections import deque
from typing import Final

from penstock_contracts.dead import DeadReason

from penstock_kit.errors import Fatal

__all__ = ["DeadLimit"]

_PERIOD_S: Final = 60.0


class DeadLimit:
    """Counts dead letters in a sliding minute, against all records that were finished in it.

    Failures always count. Poison counts only until the first record of this process went well: a
    process that finds everything poisonous has a wrong secret or a wrong release, but one that does
    its work must not be stopped by whoever floods it with rubbish.

    Attributes:
        finished: records finished so far, dead ones included; the owner counts.
    """

    def __init__(self, at_least: int, *, name: str) -> None:
        self._at_least = at_least
        self._name = name
        self._letters: deque[tuple[float, int]] = deque()
        self._dead = 0
        self.finished = 0

    def check(self, now: float, reason: DeadReason) -> None:
        """Call before each dead letter; `now` is monotonic seconds.

        Raises:
            Fatal: this one would be too many; the record must stay where it is.
        """
        went_well = self.finished > self._dead
        self._dead += 1
        if reason is DeadReason.POISON and went_well:
            return
        letters = self._letters
        while letters and now - letters[0][0] >= _PERIOD_S:
            letters.popleft()
        if len(letters) >= self._at_least:
            dead = len(letters)  # some may be on their way, and not finished yet
            finished = max(self.finished - letters[0][1], dead)
            if 2 * dead > finished:
                raise Fatal(
                    f"{self._name!r} has dead-lettered {dead} of the last {finished} records within"
                    " a minute, so the fault is more likely ours (settings, a provider's key, a"
                    " release) than theirs; `penstock dlq list` shows the reasons, correct the"
                    " cause and start again: the other records are untouched"
                )
        letters.append((now, self.finished))
