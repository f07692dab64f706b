"""Files in a local folder: whole or not at all, and only for their tenant."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from penstock_contracts.parts import BlobRef
from penstock_kit.blobs.files import FileStore
from penstock_kit.errors import Rejected, Retryable
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


async def test_file_when_its_reader_is_slow_then_no_answer_of_the_store_stays_open(
    tmp_path: Path,
) -> None:
    """What lies between two chunks may take hours; the store must not notice."""
    store = FileStore(BlobSettings(url=tmp_path.as_uri()))
    ref = await store.put(ACME, FILE, upload=UPLOAD, chunks=chunks(120))
    reading = aiter(store.stream(ACME, ref))

    first = await anext(reading)
    (path,) = files_in(tmp_path)
    path.unlink()

    assert len(first) <= 1024 * 1024
    with pytest.raises(Rejected, match="gone"):
        await anext(reading)


async def test_file_when_the_store_refuses_in_the_middle_then_reading_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = b"".join([chunk async for chunk in chunks(120)])
    ref = BlobRef(
        path=f"t-acme/files/{FILE}/{UPLOAD}",
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
    )
    refusals: list[Retryable] = []
    asked: list[slice] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.http_range)
        if len(asked) in {3, 4}:
            return web.Response(status=401)
        first, end = request.http_range.start, request.http_range.stop
        headers = {"content-range": f"bytes {first}-{end - 1}/{len(data)}", "etag": "e"}
        headers["last-modified"] = "Wed, 21 Oct 2026 07:28:00 GMT"
        return web.Response(status=206, body=data[first:end], headers=headers)

    async def again(error: Retryable) -> None:
        refusals.append(error)
        assert len(refusals) <= 2

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", str(server.make_url("")))
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        store = FileStore(BlobSettings(url="s3://bucket"))
        found = b"".join([chunk async for chunk in store.stream(ACME, ref, on_away=again)])
        del asked[2:]  # the next one is refused again
        with pytest.raises(Retryable, match="refuses"):
            await anext(aiter(store.stream(ACME, ref)))

    assert found == data
    assert len(refusals) == 2
