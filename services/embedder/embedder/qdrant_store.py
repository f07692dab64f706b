"""Passages in Qdrant: a server over gRPC, or the local mode of its client for one process.

The tenant filter is built here and only here, from a `TenantScope`; no call exists without it.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from penstock_contracts.parts import SearchHit
from penstock_kit.tenancy import TenantScope

from embedder.errors import DimensionMismatch, StoreAway
from embedder.ports import Passage, Search
from embedder.qdrant_clients import is_absent, is_away

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

__all__ = ["QdrantStore"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

_PREFIX = "penstock."
"""Keeps our collections apart from others' on a shared server."""
_POINTS_PER_REQUEST = 256
"""About 1 MB with 384 dimensions and chunks of 200 tokens; servers take 32 MB."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a collection was made for; `model` is None for collections that we did not make."""

    dimensions: int
    model: str | None


class QdrantStore:
    """Implements `VectorStore`.

    The client is synchronous and runs in threads of its own: one in local mode, whose client is not
    safe under threads (qdrant-client issue 1193), several for a server.
    """

    def __init__(
        self, connect: Callable[[], QdrantClient], *, threads: int, has_indexes: bool
    ) -> None:
        self._connect = connect
        self._has_indexes = has_indexes
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="embedder-qdrant")
        self._client: QdrantClient | None = None
        self._shapes: dict[str, _Shape] = {}

    async def start(self) -> None:
        """Connect, or load the local folder."""
        self._client = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._connect
        )

    async def stop(self) -> None:
        """Let running calls end, then close."""
        client, self._client = self._client, None
        if client is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, client.close)
        await asyncio.to_thread(self._threads.shutdown, wait=True)

    async def prepare(self, collection: str, *, dimensions: int, model: str) -> None:
        """Create the collection (cosine distance, payload indexes), or check the one there is."""
        shape = await self._call(
            lambda client: self._prepared(client, collection, dimensions, model)
        )
        _check(collection, shape, dimensions=dimensions, model=model)

    async def put(self, scope: TenantScope, collection: str, passages: Sequence[Passage]) -> None:
        """Upsert in requests of bounded size; returns when Qdrant has applied them."""
        points = [_point(scope, collection, passage) for passage in passages]
        for start in range(0, len(points), _POINTS_PER_REQUEST):
            part = points[start : start + _POINTS_PER_REQUEST]
            await self._call(partial(_upsert, name=_PREFIX + collection, points=part))

    async def trim(self, scope: TenantScope, collection: str, documents: Mapping[str, int]) -> None:
        """One filtered delete for all documents."""
        selector = _surplus(scope, documents)
        await self._call(lambda client: client.delete(_PREFIX + collection, selector, wait=True))

    async def find(self, scope: TenantScope, collection: str, search: Search) -> list[SearchHit]:
        """Exact in local mode, HNSW on a server."""
        shape = await self._call(lambda client: self._shape(client, collection))
        if shape is None:
            return []
        _check(collection, shape, dimensions=len(search.vector), model=None)
        return await self._call(lambda client: _found(client, scope, collection, search))

    def _prepared(
        self, client: QdrantClient, collection: str, dimensions: int, model: str
    ) -> _Shape:
        shape = self._shape(client, collection)
        if shape is not None:
            return shape
        _create(client, collection, dimensions=dimensions, model=model)
        made = self._shape(client, collection)
        if made is None:
            raise StoreAway(f"collection {collection!r} vanished while it was made; trying again")
        return made

    def _shape(self, client: QdrantClient, collection: str) -> _Shape | None:
        if collection not in self._shapes:
            if not client.collection_exists(_PREFIX + collection):
                return None
            found = client.get_collection(_PREFIX + collection)
            if self._has_indexes:
                _index(client, collection, existing=found.payload_schema)
            config = found.config
            vectors: Any = config.params.vectors
            self._shapes[collection] = _Shape(vectors.size, (config.metadata or {}).get("model"))
        return self._shapes[collection]

    async def _call(self, work: Callable[[QdrantClient], T]) -> T:
        client = self._client
        if client is None:
            raise StoreAway("the vector store is not started or already stopped; trying again")
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, _quietly, work, client
            )
        except Exception as error:
            if is_absent(error):
                self._shapes.clear()
                raise StoreAway("the collection was deleted meanwhile; trying again") from error
            if is_away(error):
                raise StoreAway(
                    f"Qdrant does not answer ({type(error).__name__}); trying again"
                ) from error
            raise


def _quietly(work: Callable[[QdrantClient], T], client: QdrantClient) -> T:
    """Turn the client's warnings (a large local collection) into log events."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = work(client)
    for warning in caught:
        log.warning("qdrant.warning", detail=str(warning.message))
    return result


def _check(collection: str, shape: _Shape, *, dimensions: int, model: str | None) -> None:
    if shape.dimensions != dimensions:
        raise DimensionMismatch(
            f"collection {collection!r} holds vectors of {shape.dimensions} dimensions, the model "
            f"gives {dimensions}; use another collection, or the model that it was made with",
            code="dimension_mismatch",
            field="input.collection",
        )
    if model is not None and shape.model not in (None, model):
        raise DimensionMismatch(
            f"collection {collection!r} holds vectors of model {shape.model!r}, this deployment "
            f"embeds with {model!r} and the two cannot be compared; use another collection",
            code="model_mismatch",
            field="input.collection",
        )


def _create(client: QdrantClient, collection: str, *, dimensions: int, model: str) -> None:
    """Create unless another worker was faster."""
    from qdrant_client import models  # noqa: PLC0415 - 70 MB that only a started store needs

    name = _PREFIX + collection
    try:
        client.create_collection(
            name,
            vectors_config=models.VectorParams(size=dimensions, distance=models.Distance.COSINE),
            metadata={"model": model},
        )
    except Exception:
        if not client.collection_exists(name):
            raise


def _index(client: QdrantClient, collection: str, *, existing: Collection[str]) -> None:
    """Make the payload indexes that are missing: whoever made the collection may have died then."""
    from qdrant_client import models  # noqa: PLC0415 - the same

    wanted: dict[str, Any] = {
        "tenant": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
        "document": models.PayloadSchemaType.KEYWORD,
        "chunk": models.PayloadSchemaType.INTEGER,
    }
    for field, schema in wanted.items():
        if field not in existing:
            client.create_payload_index(_PREFIX + collection, field, schema, wait=True)


def _upsert(client: QdrantClient, *, name: str, points: list[Any]) -> None:
    client.upsert(name, points, wait=True)


def _point(scope: TenantScope, collection: str, passage: Passage) -> Any:
    from qdrant_client import models  # noqa: PLC0415 - the same

    return models.PointStruct(
        id=scope.point_id(collection=collection, document=passage.document, chunk=passage.chunk),
        vector=passage.vector.tolist(),
        payload={
            "tenant": scope.tenant,
            "document": passage.document,
            "chunk": passage.chunk,
            "text": passage.text,
            "metadata": dict(passage.metadata),
        },
    )


def _surplus(scope: TenantScope, documents: Mapping[str, int]) -> Any:
    from qdrant_client import models  # noqa: PLC0415 - the same

    from embedder.qdrant_filters import equals, tenant_filter  # noqa: PLC0415 - the same

    surplus = [
        models.Filter(
            must=[
                equals("document", document),
                models.FieldCondition(key="chunk", range=models.Range(gte=count)),
            ]
        )
        for document, count in documents.items()
    ]
    return models.FilterSelector(filter=tenant_filter(scope, any_of=surplus))


def _found(
    client: QdrantClient, scope: TenantScope, collection: str, search: Search
) -> list[SearchHit]:
    from embedder.qdrant_filters import conditions, tenant_filter  # noqa: PLC0415 - the same

    response = client.query_points(
        _PREFIX + collection,
        query=search.vector.tolist(),
        query_filter=tenant_filter(scope, all_of=conditions(search.filters or {})),
        limit=search.limit,
        score_threshold=search.score_threshold,
        with_payload=True,
    )
    hits = [_hit(str(point.id), point.score, point.payload or {}) for point in response.points]
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


def _hit(point: str, score: float, payload: Mapping[str, Any]) -> SearchHit:
    return SearchHit(
        id=point,
        score=score,
        document=payload["document"],
        chunk=payload["chunk"],
        text=payload["text"],
        metadata=payload["metadata"],
    )
