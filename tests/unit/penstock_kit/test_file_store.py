"""Files in a local folder: whole or not at all, and only for their tenant."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from penstock_kit.blobs.files import FileStore
from penstock_kit.errors import Rejected
from penstock_kit.settings import BlobSettings
from penstock_kit.tenancy import TenantScope

FILE = "file-" + "0a" * 21
UPLOAD = "ab" * 16
ACME = TenantScope("acme")


class Cut(Exception):
    """The sender has gone."""


async def chunks(count: int, *, cut_at: int | None = None) -> AsyncIterator[bytes]:
    for number in range(count):
        if number == cut_at:
            raise Cut
        yield bytes([number % 256]) * 100_000


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_file_when_put_then_the_same_comes_back(tmp_path: Path) -> None:
    store = FileStore(BlobSettings(url=tmp_path.as_uri()))
    expected = b"".join([chunk async for chunk in chunks(120)])

    ref = await store.put(ACME, FILE, upload=UPLOAD, chunks=chunks(120))
    found = b"".join([chunk async for chunk in store.stream(ACME, ref)])

    assert found == expected
    assert (ref.size_bytes, ref.sha256) == (len(expected), hashlib.sha256(expected).hexdigest())


@pytest.mark.parametrize("cut_at", [0, 1, 119])
async def test_file_when_its_sender_goes_then_the_error_passes_and_nothing_is_left(
    tmp_path: Path, cut_at: int
) -> None:
    store = FileStore(BlobSettings(url=tmp_path.as_uri()))

    with pytest.raises(Cut):
        await store.put(ACME, FILE, upload=UPLOAD, chunks=chunks(120, cut_at=cut_at))

    assert files_in(tmp_path) == []


async def test_file_when_deleted_then_gone_and_deleting_again_is_no_error(tmp_path: Path) -> None:
    store = FileStore(BlobSettings(url=tmp_path.as_uri()))
    ref = await store.put(ACME, FILE, upload=UPLOAD, chunks=chunks(1))

    await store.delete(ACME, ref)
    await store.delete(ACME, ref)

    with pytest.raises(Rejected, match="gone"):
        await anext(aiter(store.stream(ACME, ref)))


async def test_file_when_of_another_tenant_then_refused(tmp_path: Path) -> None:
    store = FileStore(BlobSettings(url=tmp_path.as_uri()))
    ref = await store.put(ACME, FILE, upload=UPLOAD, chunks=chunks(1))

    with pytest.raises(Rejected, match="tenant"):
        await anext(aiter(store.stream(TenantScope("other"), ref)))
    with pytest.raises(Rejected, match="tenant"):
        await store.delete(TenantScope("other"), ref)
    assert len(files_in(tmp_path)) == 1
