"""Claim checks through obstore: a local folder, S3, GCS or Azure behind one set of verbs.

Paths begin with the tenant and the job, so a reference can only lead to what belongs to its scope.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import obstore
from penstock_contracts.ids import is_job_id
from penstock_contracts.parts import BlobRef

from penstock_kit.blobs.opening import guarded, open_store, tenant_segment
from penstock_kit.errors import Rejected
from penstock_kit.settings import BlobSettings
from penstock_kit.tenancy import TenantScope

__all__ = ["BlobStore"]

_KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}-[0-9a-f]{16}", re.ASCII)
_TIMEOUT = timedelta(seconds=30)


class BlobStore:
    """Puts, gets and deletes bodies that are too large for Kafka. Every get proves hash and size.

    Raises:
        Fatal: the URL names no store that can be opened.
    """

    def __init__(self, settings: BlobSettings, *, timeout: timedelta = _TIMEOUT) -> None:
        self.inline_limit_bytes = settings.inline_limit_bytes
        self._max_bytes = settings.max_bytes
        self._timeout_s = timeout.total_seconds()
        self._store = open_store(settings.url)

    async def put(self, scope: TenantScope, job: str, kind: str, data: bytes) -> BlobRef:
        """Store `data` and return when it is durable. The same data again gives the same reference.

        Args:
            scope: whose body it is.
            job: the job that it is deleted with.
            kind: what it is to the job: `input`, `output`.
            data: the whole body.

        Raises:
            Rejected: `blob_too_large`.
            Retryable: the store is away.
        """
        if len(data) > self._max_bytes:
            raise _too_large(len(data), self._max_bytes)
        assert _KIND.fullmatch(kind), kind
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        path = f"{_folder(scope, job)}{kind}-{digest[:16]}"
        await self._within(obstore.put_async(self._store, path, data))
        return BlobRef(path=path, sha256=digest, size_bytes=len(data))

    async def get(self, scope: TenantScope, ref: BlobRef) -> bytes:
        """The body behind a reference, whole and unchanged.

        Raises:
            Rejected: `foreign_blob`, `missing_blob`, `blob_too_large` or `damaged_blob`.
            Retryable: the store is away.
        """
        self._check(scope, ref)
        result = await self._within(obstore.get_async(self._store, ref.path))
        if result.meta["size"] != ref.size_bytes:
            raise _damaged(ref)
        data = bytes(await self._within(result.bytes_async()))
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        if digest != ref.sha256:
            raise _damaged(ref)
        return data

    async def stream(
        self, scope: TenantScope, ref: BlobRef, *, chunk_bytes: int = 256 * 1024
    ) -> AsyncIterator[bytes]:
        """The body in chunks, for passing it on without holding it; proven after the last chunk.

        Raises:
            Rejected: as `get`; `damaged_blob` may come after chunks were handed out.
            Retryable: the store is away.
        """
        self._check(scope, ref)
        result = await self._within(obstore.get_async(self._store, ref.path))
        if result.meta["size"] != ref.size_bytes:
            raise _damaged(ref)
        digest = hashlib.sha256()
        chunks = result.stream(min_chunk_size=chunk_bytes).__aiter__()
        while True:
            try:
                chunk = bytes(await self._within(anext(chunks)))
            except StopAsyncIteration:
                break
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != ref.sha256:
            raise _damaged(ref)

    async def delete(self, scope: TenantScope, job: str) -> int:
        """Delete all bodies of a job; how many there were. Deleting what is gone is no error.

        Raises:
            Retryable: the store is away.
        """
        paths = [
            meta["path"]
            for batch in await self._within(self._list(_folder(scope, job)))
            for meta in batch
        ]
        if paths:
            try:
                await self._within(obstore.delete_async(self._store, paths))
            except Rejected:
                return 0
        return len(paths)

    async def check(self) -> None:
        """Prove that the store can be read.

        Raises:
            Retryable: the store is away, or refuses us.
        """
        try:
            await self._within(obstore.head_async(self._store, "penstock-probe"))
        except Rejected:
            return

    async def _within(self, awaitable: Any) -> Any:
        return await guarded(awaitable, limit_s=self._timeout_s)

    async def _list(self, prefix: str) -> list[Any]:
        return [batch async for batch in obstore.list(self._store, prefix=prefix)]

    def _check(self, scope: TenantScope, ref: BlobRef) -> None:
        folder, _, name = ref.path.rpartition("/")
        job = folder.rpartition("/")[2]
        is_ours = (
            is_job_id(job)
            and _NAME.fullmatch(name) is not None
            and f"{folder}/" == _folder(scope, job)
        )
        if not is_ours:
            raise Rejected(
                "the reference does not lead to a body of this tenant;"
                " use the one that was handed out",
                code="foreign_blob",
                field="input_ref.path",
            )
        if ref.size_bytes > self._max_bytes:
            raise _too_large(ref.size_bytes, self._max_bytes)


def _folder(scope: TenantScope, job: str) -> str:
    assert is_job_id(job), job
    return f"{tenant_segment(scope.tenant)}/{job}/"


def _damaged(ref: BlobRef) -> Rejected:
    return Rejected(
        f"the stored body differs from its reference (expected {ref.size_bytes} bytes with"
        " the given SHA-256); submit the job again",
        code="damaged_blob",
        field="input_ref.sha256",
    )


def _too_large(size: int, limit: int) -> Rejected:
    return Rejected(
        f"the body has {size} bytes, at most {limit} are accepted; split the job, or raise"
        " PENSTOCK_BLOBS__MAX_BYTES",
        code="blob_too_large",
        field="input_ref.size_bytes",
    )
