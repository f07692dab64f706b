"""Reading a table that lags: again until it is settled, and not for ever."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from penstock_kit.jobs.folding import once_folded


class Table:
    """Says one thing after the other, the last one again and again."""

    def __init__(self, said: Sequence[str]) -> None:
        self._said = list(said)
        self.reads = 0

    async def read(self) -> str:
        self.reads += 1
        return self._said[min(self.reads, len(self._said)) - 1]


@pytest.mark.parametrize(
    ("said", "found", "reads"),
    [
        (["over"], "over", 1),
        (["runs", "runs", "over", "gone"], "over", 3),
        (["runs"], "runs", 4),
    ],
)
async def test_once_folded_reads_until_it_is_settled_or_its_patience_is_over(
    said: list[str], found: str, reads: int
) -> None:
    table = Table(said)

    result = await once_folded(table.read, lambda word: word == "over", pauses_s=(0, 0, 0))

    assert (result, table.reads) == (found, reads)
