"""A vector store in memory: exact, and gone with the process. For tests and for trying out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from penstock_contracts.parts import SearchHit
from penstock_contracts.requests import FilterValue
from penstock_kit.tenancy import TenantScope

from embedder.errors import DimensionMismatch
from embedder.ports import Passage, Search

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Collection:
    dimensions: int
    model: str
    passages: dict[tuple[str, str, int], Passage] = field(default_factory=dict)


class MemoryStore:
    """Implements `VectorStore`; passes the same contract suite as Qdrant."""

    def __init__(self) -> None:
        self._collections: dict[str, _Collection] = {}

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do."""

    async def prepare(self, collection: str, *, dimensions: int, model: str) -> None:
        """Make or check the collection."""
        made = self._collections.setdefault(collection, _Collection(dimensions, model))
        if made.dimensions != dimensions:
            raise _mismatch(collection, made.dimensions, dimensions)
        if made.model != model:
            raise DimensionMismatch(
                f"collection {collection!r} holds vectors of model {made.model!r}, not {model!r}",
                code="model_mismatch",
                field="input.collection",
            )

    async def put(self, scope: TenantScope, collection: str, passages: Sequence[Passage]) -> None:
        """Keep the passages."""
        kept = self._collections[collection].passages
        for passage in passages:
            kept[scope.tenant, passage.document, passage.chunk] = passage

    async def trim(self, scope: TenantScope, collection: str, documents: Mapping[str, int]) -> None:
        """Forget surplus chunks."""
        kept = self._collections[collection].passages
        for tenant, document, chunk in list(kept):
            if tenant == scope.tenant and chunk >= documents.get(document, chunk + 1):
                del kept[tenant, document, chunk]

    async def find(self, scope: TenantScope, collection: str, search: Search) -> list[SearchHit]:
        """Compare with every passage of the tenant."""
        made = self._collections.get(collection)
        if made is None:
            return []
        if made.dimensions != len(search.vector):
            raise _mismatch(collection, made.dimensions, len(search.vector))
        hits = [
            _hit(scope, collection, passage, float(np.dot(passage.vector, search.vector)))
            for (tenant, _, _), passage in made.passages.items()
            if tenant == scope.tenant and _matches(passage.metadata, search.filters or {})
        ]
        if search.score_threshold is not None:
            hits = [hit for hit in hits if hit.score >= search.score_threshold]
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))[: search.limit]


def _mismatch(collection: str, has: int, got: int) -> DimensionMismatch:
    return DimensionMismatch(
        f"collection {collection!r} holds vectors of {has} dimensions, the model gives {got}",
        code="dimension_mismatch",
        field="input.collection",
    )


def _hit(scope: TenantScope, collection: str, passage: Passage, score: float) -> SearchHit:
    return SearchHit(
        id=scope.point_id(collection=collection, document=passage.document, chunk=passage.chunk),
        score=score,
        document=passage.document,
        chunk=passage.chunk,
        text=passage.text,
        metadata=dict(passage.metadata),
    )


def _matches(metadata: Mapping[str, Any], filters: Mapping[str, FilterValue]) -> bool:
    return all(name in metadata and _holds(metadata[name], ask) for name, ask in filters.items())


def _holds(value: Any, ask: FilterValue) -> bool:
    if isinstance(ask, dict):
        return not isinstance(value, str | bool) and all(
            _BOUNDS[bound](value, limit) for bound, limit in ask.items()
        )
    if isinstance(ask, list):
        return not isinstance(value, bool) and any(_same(value, one) for one in ask)
    return _same(value, ask)


def _same(value: Any, ask: Any) -> bool:
    if isinstance(value, bool) or isinstance(ask, bool):
        return value is ask
    return bool(value == ask)


_BOUNDS = {
    "gt": lambda value, limit: value > limit,
    "gte": lambda value, limit: value >= limit,
    "lt": lambda value, limit: value < limit,
    "lte": lambda value, limit: value <= limit,
}
