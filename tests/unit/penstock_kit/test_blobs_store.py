from __future__ import annotations

import os
from pathlib import Path

import pytest
from penstock_contracts.parts import BlobRef
from penstock_kit.blobs.store import BlobStore
from penstock_kit.errors import Fatal, Rejected, Retryable
from penstock_kit.settings import BlobSettings
from penstock_kit.tenancy import TenantScope

JOB = "job_" + "a" * 42
OTHER_JOB = "job_" + "b" * 32
ACME = TenantScope("acme")


def store_in(folder: Path, **settings: int) -> BlobStore:
    return BlobStore(BlobSettings(url=folder.as_uri(), **settings))


async def test_put_then_get_gives_the_same_bytes(tmp_path: Path) -> None:
    store = store_in(tmp_path / "new")

    ref = await store.put(ACME, JOB, "input", b"\x00text" * 1000)

    assert ref.size_bytes == 5000
    assert await store.get(ACME, ref) == b"\x00text" * 1000
    assert await store.put(ACME, JOB, "input", b"\x00text" * 1000) == ref


async def test_stream_gives_the_same_bytes_in_chunks(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    data = bytes(range(256)) * 8192
    ref = await store.put(ACME, JOB, "output", data)

    chunks = [chunk async for chunk in store.stream(ACME, ref, chunk_bytes=64 * 1024)]

    assert len(chunks) > 1
    assert b"".join(chunks) == data


@pytest.mark.parametrize(
    "tenant", ["acme", "Acme", "a/../b", "a..b", "x@y:z+1", "a" * 128, "A/" * 60]
)
async def test_any_tenant_id_has_a_folder_of_its_own(tmp_path: Path, tenant: str) -> None:
    store = store_in(tmp_path / "root")
    scope, lower = TenantScope(tenant), TenantScope(tenant.lower() + "-")

    ref = await store.put(scope, JOB, "input", b"mine")

    assert await store.get(scope, ref) == b"mine"
    with pytest.raises(Rejected) as refused:
        await store.get(lower, ref)
    assert refused.value.code == "foreign_blob"
    assert os.listdir(tmp_path) == ["root"]  # noqa: PTH208 - pathlib's way is refused in async code


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "",
        f"t-acme/{JOB}/../../t-other/{JOB}/input-0123456789abcdef",
        f"t-other/{JOB}/input-0123456789abcdef",
        f"t-acme/{JOB}/input-0123456789abcdef/x",
        "t-acme/not-a-job/input-0123456789abcdef",
        f"t-acme/{JOB}/..",
        f"t-acme//{JOB}/input-0123456789abcdef",
        f"t-acme/{JOB}/input-0123456789abcde\n",
    ],
)
async def test_get_with_a_forged_path_is_refused_before_the_store_is_asked(
    tmp_path: Path, path: str
) -> None:
    store = store_in(tmp_path)

    with pytest.raises(Rejected) as refused:
        await store.get(ACME, BlobRef(path=path, sha256="0" * 64, size_bytes=1))

    assert refused.value.code == "foreign_blob"


async def test_get_of_what_is_gone_tells_so(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    ref = await store.put(ACME, JOB, "input", b"x")
    assert await store.delete(ACME, JOB) == 1

    with pytest.raises(Rejected) as refused:
        await store.get(ACME, ref)

    assert refused.value.code == "missing_blob"


@pytest.mark.parametrize("content", [b"other", b"longer than before"])
async def test_get_of_a_changed_body_is_refused(tmp_path: Path, content: bytes) -> None:
    store = store_in(tmp_path)
    ref = await store.put(ACME, JOB, "input", b"right")
    (tmp_path / ref.path).write_bytes(content)

    with pytest.raises(Rejected) as refused:
        await store.get(ACME, ref)
    with pytest.raises(Rejected) as streamed:
        [chunk async for chunk in store.stream(ACME, ref)]

    assert refused.value.code == streamed.value.code == "damaged_blob"


async def test_delete_takes_all_bodies_of_the_job_and_no_other(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    await store.put(ACME, JOB, "input", b"1")
    await store.put(ACME, JOB, "output", b"2")
    kept = await store.put(ACME, OTHER_JOB, "input", b"3")
    foreign = await store.put(TenantScope("beta"), JOB, "input", b"4")

    assert await store.delete(ACME, JOB) == 2
    assert await store.delete(ACME, JOB) == 0

    assert await store.get(ACME, kept) == b"3"
    assert await store.get(TenantScope("beta"), foreign) == b"4"


async def test_too_large_a_body_is_refused_both_ways(tmp_path: Path) -> None:
    store = store_in(tmp_path, max_bytes=10)

    with pytest.raises(Rejected) as put:
        await store.put(ACME, JOB, "input", b"x" * 11)
    with pytest.raises(Rejected) as got:
        await store.get(
            ACME,
            BlobRef(path=f"t-acme/{JOB}/input-0123456789abcdef", sha256="0" * 64, size_bytes=11),
        )

    assert put.value.code == got.value.code == "blob_too_large"


async def test_store_that_is_away_is_retryable(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store = store_in(folder)
    folder.rmdir()
    folder.write_text("a file where the folder was")

    with pytest.raises(Retryable):
        await store.put(ACME, JOB, "input", b"x")


async def test_check_passes_on_a_readable_store(tmp_path: Path) -> None:
    await store_in(tmp_path).check()


@pytest.mark.parametrize("url", ["nonsense", "ftp://x/y", "s3://"])
def test_unusable_url_is_fatal_with_the_forms_that_work(url: str) -> None:
    with pytest.raises(Fatal, match="PENSTOCK_BLOBS__URL"):
        BlobStore(BlobSettings(url=url))
