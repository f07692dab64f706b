"""Payload indexes of a server's collections, also of one that was left half made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from embedder.errors import StoreAway
from embedder.ports import Search
from embedder.qdrant_store import QdrantStore
from penstock_kit.tenancy import TenantScope
from qdrant_client import QdrantClient, models


class IndexedClient(QdrantClient):
    """The local client, which keeps its indexes in mind as a server does; dies before `dies_at`."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.indexes: dict[str, models.PayloadIndexInfo] = {}
        self.made: list[str] = []
        self.dies_at: str | None = None

    def create_payload_index(
        self, collection_name: str, field_name: str, *_: Any, **__: Any
    ) -> Any:
        """Note it."""
        assert collection_name == "penstock.docs"
        if field_name == self.dies_at:
            raise ConnectionError
        self.made.append(field_name)
        self.indexes[field_name] = models.PayloadIndexInfo(
            data_type=models.PayloadSchemaType.KEYWORD, points=0
        )

    def get_collection(self, collection_name: str, **options: Any) -> models.CollectionInfo:
        """With the indexes that were noted."""
        found = super().get_collection(collection_name, **options)
        return found.model_copy(update={"payload_schema": dict(self.indexes)})

    def close(self, grpc_grace: float | None = None, **kwargs: Any) -> None:
        """Stays open, as a server does."""


async def started(client: IndexedClient, *, has_indexes: bool = True) -> QdrantStore:
    store = QdrantStore(lambda: client, threads=1, has_indexes=has_indexes)
    await store.start()
    return store


async def prepare(store: QdrantStore) -> None:
    await store.prepare("docs", dimensions=4, model="m")


async def test_prepare_makes_each_index_once() -> None:
    client = IndexedClient()
    for _ in range(2):
        store = await started(client)
        await prepare(store)
        await prepare(store)
        await store.stop()

    assert client.made == ["tenant", "document", "chunk"]


@pytest.mark.parametrize("dies_at", ["tenant", "document", "chunk"])
async def test_collection_that_was_half_made_gets_the_indexes_it_lacks(dies_at: str) -> None:
    client = IndexedClient()
    client.dies_at = dies_at
    store = await started(client)
    with pytest.raises((ConnectionError, StoreAway)):
        await prepare(store)
    await store.stop()

    client.dies_at = None
    store = await started(client)
    await store.find(TenantScope("acme"), "docs", Search(vector=np.ones(4, dtype=np.float32)))
    await store.stop()

    assert client.made == ["tenant", "document", "chunk"]


async def test_local_store_makes_no_indexes() -> None:
    client = IndexedClient()
    store = await started(client, has_indexes=False)
    await prepare(store)
    await store.stop()

    assert client.made == []
