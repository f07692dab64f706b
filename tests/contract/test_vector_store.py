"""One suite for every vector store; isolation of tenants first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedder.errors import DimensionMismatch
from embedder.memory_store import MemoryStore
from embedder.ports import Passage, Search, VectorStore
from embedder.qdrant_clients import connect_local
from embedder.qdrant_store import QdrantStore
from numpy.typing import NDArray
from penstock_contracts.requests import FilterValue
from penstock_kit.tenancy import TenantScope

ACME, OTHER = TenantScope("acme"), TenantScope("other")
SIZE = 4


def axis(number: int) -> NDArray[np.float32]:
    vector = np.zeros(SIZE, dtype=np.float32)
    vector[number] = 1
    return vector


def passage(
    document: str, chunk: int = 0, *, near: int = 0, metadata: Mapping[str, Any] | None = None
) -> Passage:
    return Passage(
        document=document,
        chunk=chunk,
        text=f"{document} {chunk}",
        metadata=metadata or {},
        vector=axis(near),
    )


@pytest.fixture(params=["memory", "qdrant local"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorStore]:
    made: VectorStore = (
        MemoryStore()
        if request.param == "memory"
        else QdrantStore(partial(connect_local, tmp_path), threads=1, has_indexes=False)
    )
    await made.start()
    await made.prepare("docs", dimensions=SIZE, model="m")
    yield made
    await made.stop()


async def found(
    store: VectorStore, scope: TenantScope, *, near: int = 0, **options: Any
) -> list[str]:
    hits = await store.find(scope, "docs", Search(vector=axis(near), **options))
    return [f"{hit.document}/{hit.chunk}" for hit in hits]


async def test_find_when_passages_are_stored_gives_nearest_first_with_text_and_metadata(
    store: VectorStore,
) -> None:
    await store.put(ACME, "docs", [passage("far", near=1), passage("near", metadata={"year": 3})])

    hits = await store.find(ACME, "docs", Search(vector=axis(0)))

    assert [hit.document for hit in hits] == ["near", "far"]
    assert hits[0].text == "near 0"
    assert hits[0].metadata == {"year": 3}
    assert hits[0].score == pytest.approx(1)
    assert hits[0].id == ACME.point_id(collection="docs", document="near", chunk=0)


async def test_find_when_asked_by_another_tenant_finds_nothing(store: VectorStore) -> None:
    await store.put(ACME, "docs", [passage("secret")])

    assert await found(store, OTHER) == []


async def test_put_when_tenants_use_the_same_ids_keeps_both(store: VectorStore) -> None:
    await store.put(ACME, "docs", [passage("d", metadata={"owner": "acme"})])
    await store.put(OTHER, "docs", [passage("d", metadata={"owner": "other"})])

    for scope in (ACME, OTHER):
        [hit] = await store.find(scope, "docs", Search(vector=axis(0)))
        assert hit.metadata == {"owner": scope.tenant}


async def test_trim_when_a_document_shrank_deletes_its_surplus_only(store: VectorStore) -> None:
    await store.put(ACME, "docs", [passage("d", chunk) for chunk in range(3)])
    await store.put(ACME, "docs", [passage("kept", 2)])
    await store.put(OTHER, "docs", [passage("d", 2)])

    await store.trim(ACME, "docs", {"d": 1, "absent": 0})

    assert sorted(await found(store, ACME)) == ["d/0", "kept/2"]
    assert await found(store, OTHER) == ["d/2"]


async def test_put_when_repeated_replaces(store: VectorStore) -> None:
    await store.put(ACME, "docs", [passage("d", metadata={"v": 1})])
    await store.put(ACME, "docs", [passage("d", metadata={"v": 2}, near=1)])

    [hit] = await store.find(ACME, "docs", Search(vector=axis(1)))
    assert hit.metadata == {"v": 2}
    assert hit.score == pytest.approx(1)


async def test_find_when_limit_and_threshold_are_set_obeys_both(store: VectorStore) -> None:
    await store.put(ACME, "docs", [passage("a"), passage("b"), passage("c", near=1)])

    assert len(await found(store, ACME, limit=1)) == 1
    assert sorted(await found(store, ACME, score_threshold=0.5)) == ["a/0", "b/0"]


async def test_find_when_scores_are_equal_orders_by_id(store: VectorStore) -> None:
    await store.put(ACME, "docs", [passage(name) for name in "abcdef"])

    hits = await store.find(ACME, "docs", Search(vector=axis(0)))

    assert [hit.id for hit in hits] == sorted(hit.id for hit in hits)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"lang": "de"}, ["b/0"]),
        ({"lang": ["de", "fr"]}, ["b/0", "c/0"]),
        ({"year": 2024}, ["a/0"]),
        ({"year": 2025.0}, ["b/0"]),
        ({"year": [2024, 2026]}, ["a/0", "c/0"]),
        ({"year": {"gte": 2025, "lt": 2026}}, ["b/0"]),
        ({"draft": True}, ["a/0"]),
        ({"draft": False}, ["b/0"]),
        ({"flag.with [odd] name": "x"}, ["c/0"]),
        ({"lang": "de", "year": 2024}, []),
        ({"absent": "x"}, []),
        ({"tenant": "acme"}, []),
        ({"year": True}, []),
        ({"draft": 1}, []),
    ],
)
async def test_find_when_filtered_gives_what_holds(
    store: VectorStore, filters: dict[str, FilterValue], expected: list[str]
) -> None:
    await store.put(
        ACME,
        "docs",
        [
            passage("a", metadata={"lang": "en", "year": 2024, "draft": True}),
            passage("b", metadata={"lang": "de", "year": 2025, "draft": False}),
            passage("c", metadata={"lang": "fr", "year": 2026.0, "flag.with [odd] name": "x"}),
        ],
    )

    assert sorted(await found(store, ACME, filters=filters)) == expected


async def test_find_when_collection_is_absent_is_empty(store: VectorStore) -> None:
    assert await store.find(ACME, "nowhere", Search(vector=axis(0))) == []


async def test_prepare_when_dimensions_differ_names_both(store: VectorStore) -> None:
    with pytest.raises(DimensionMismatch, match=r"4 dimensions.*8") as refusal:
        await store.prepare("docs", dimensions=8, model="m")

    assert refusal.value.code == "dimension_mismatch"


async def test_find_when_dimensions_differ_names_both(store: VectorStore) -> None:
    with pytest.raises(DimensionMismatch, match=r"4 dimensions.*3"):
        await store.find(ACME, "docs", Search(vector=np.ones(3, dtype=np.float32)))


async def test_prepare_when_model_differs_is_refused(store: VectorStore) -> None:
    with pytest.raises(DimensionMismatch, match=r"'m'.*'n'") as refusal:
        await store.prepare("docs", dimensions=SIZE, model="n")

    assert refusal.value.code == "model_mismatch"
