"""What the embedder needs of others: a model that makes vectors, and a store that finds them again.

Adapters: `local_model`, `openai_model` and `fake_model` for the first; `qdrant_store` and
`memory_store` for the second. All adapters of a port pass the same contract suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from penstock_contracts.parts import SearchHit
from penstock_contracts.requests import FilterValue
from penstock_kit.tenancy import TenantScope

__all__ = [
    "Embedded",
    "EmbeddingModel",
    "ModelSpec",
    "Passage",
    "Search",
    "TokenizedText",
    "VectorStore",
    "Vectors",
    "Word",
]

Vectors = NDArray[np.float32]
"""(texts, dimensions) float32; a row has unit length, or is NaN where the model gave no vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What a model is and can do.

    Attributes:
        name: as results and usage name it.
        provider: `local`, or the name of the endpoint.
        dimensions: length of its vectors unless asked otherwise.
        max_tokens: longest text, with the tokens that the model adds.
        added_tokens: how many tokens the model adds to each text.
        can_shorten: whether it serves other dimensions on request.
        parallel: how many batches it can work on at a time.
    """

    name: str
    provider: str
    dimensions: int
    max_tokens: int
    added_tokens: int = 0
    can_shorten: bool = False
    parallel: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedText:
    """A text with its length in tokens, those that the model adds included.

    `ids` is (tokens,) int64 for models that run here, and wherever the caller sent ids; else None,
    and `tokens` is an estimate.
    """

    text: str
    tokens: int
    ids: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """Characters `start` to `end` that are better not cut inside, costing `tokens`."""

    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of a batch, in its order, and the tokens billed (None: it did not say)."""

    vectors: Vectors
    billed_tokens: int | None = None


class EmbeddingModel(Protocol):
    """Turns texts into vectors. Nothing of it blocks the event loop."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is; known before `start`."""
        ...

    async def start(self) -> None:
        """Return when the model can embed.

        Raises:
            ModelMissing: its files are not where the settings say.
        """
        ...

    async def stop(self) -> None:
        """Release threads and connections; works twice and unstarted."""
        ...

    async def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """The texts with their lengths, nothing cut off."""
        ...

    async def from_ids(self, lists: Sequence[Sequence[int]]) -> list[TokenizedText]:
        """Texts that came as ids of the model's own vocabulary; the model's own tokens are added.

        Raises:
            UnusableText: an id that the vocabulary does not have; `index` names the list.
        """
        ...

    async def words(self, text: str) -> list[Word]:
        """The text's words in order, without those tokens that the model adds.

        Costs add up: a text of neighbouring words costs at most the sum of their tokens.
        """
        ...

    async def embed(
        self, batch: Sequence[TokenizedText], *, dimensions: int | None = None
    ) -> Embedded:
        """One vector per text; one call of the model.

        Raises:
            ModelAway: no text is to blame; trying later makes sense.
            Rejected: the endpoint refuses (one of) these texts, or the options.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A chunk of a document with its vector, (dimensions,) float32 of unit length."""

    document: str
    chunk: int
    text: str
    metadata: Mapping[str, Any]
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to find: passages near `vector` for which every filter holds.

    A filter is a value (equal), a list (any of), or bounds `gt gte lt lte`; a key that a document
    lacks never matches.
    """

    vector: NDArray[np.float32]
    limit: int = 10
    score_threshold: float | None = None
    filters: Mapping[str, FilterValue] | None = None


class VectorStore(Protocol):
    """Keeps passages in collections that tenants share; a scope reaches only its tenant's."""

    async def start(self) -> None:
        """Return when the store can serve.

        Raises:
            StoreLocked: another process holds the local folder.
        """
        ...

    async def stop(self) -> None:
        """Flush and release; works twice and unstarted."""
        ...

    async def prepare(self, collection: str, *, dimensions: int, model: str) -> None:
        """Make the collection exist for vectors of this length and model; does nothing if it does.

        Raises:
            DimensionMismatch: it exists for other vectors; the message names both.
            StoreAway: the server does not answer.
        """
        ...

    async def put(self, scope: TenantScope, collection: str, passages: Sequence[Passage]) -> None:
        """Write passages durably into a prepared collection; the same document and chunk replaces.

        Raises:
            StoreAway: the server does not answer; writing again is safe.
        """
        ...

    async def trim(self, scope: TenantScope, collection: str, documents: Mapping[str, int]) -> None:
        """Delete each document's chunks from a number on: what a longer, earlier version left.

        Raises:
            StoreAway: the server does not answer; trimming again is safe.
        """
        ...

    async def find(self, scope: TenantScope, collection: str, search: Search) -> list[SearchHit]:
        """The nearest passages, best first, equal scores in order of their id.

        A collection that does not exist is found empty: whether a tenant made it must not show.

        Raises:
            DimensionMismatch: the collection holds vectors of another length.
            StoreAway: the server does not answer.
        """
        ...
