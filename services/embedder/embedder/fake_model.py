"""A model without weights: words hashed into a unit vector, so that similar texts are near."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from embedder.errors import unknown_token
from embedder.ports import Embedded, ModelSpec, TokenizedText, Vectors, Word
from embedder.vectors import unit_rows

__all__ = ["FakeModel"]

_VOCABULARY = 1000
_WORD = re.compile(r"\w+|[^\w\s]")


class FakeModel:
    """Implements `EmbeddingModel`, and passes its contract suite. One word is one token."""

    def __init__(self, *, dimensions: int = 64, max_tokens: int = 512) -> None:
        self.spec = ModelSpec(
            name="fake-hash", provider="local", dimensions=dimensions, max_tokens=max_tokens
        )

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    async def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """One token per word or punctuation mark."""
        return [TokenizedText(text, len(_WORD.findall(text))) for text in texts]

    async def from_ids(self, lists: Sequence[Sequence[int]]) -> list[TokenizedText]:
        """Each id is a word of its own."""
        for index, ids in enumerate(lists):
            for token in ids:
                if not 0 <= token < _VOCABULARY:
                    raise unknown_token(index, token, vocabulary=_VOCABULARY)
        return [TokenizedText(" ".join(f"word{token}" for token in ids), len(ids)) for ids in lists]

    async def words(self, text: str) -> list[Word]:
        """The same words."""
        return [Word(match.start(), match.end(), 1) for match in _WORD.finditer(text)]

    async def embed(
        self, batch: Sequence[TokenizedText], *, dimensions: int | None = None
    ) -> Embedded:
        """Counts of hashed words, unit length."""
        del dimensions
        return Embedded(unit_rows(np.stack([self._counts(text.text) for text in batch])))

    def _counts(self, text: str) -> Vectors:
        row = np.zeros(self.spec.dimensions, dtype=np.float32)
        for word in _WORD.findall(text.lower()):
            row[zlib.crc32(word.encode()) % self.spec.dimensions] += 1
        return row
