"""Whole files through obstore: in and out as streams, never in memory at once.

A file is there when all of it is: one that is cut off on its way in leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import obstore
from penstock_contracts.parts import BlobRef

from penstock_kit.blobs.opening import guarded, open_store, tenant_segment
from penstock_kit.errors import Rejected, Retryable
from penstock_kit.settings import BlobSettings
from penstock_kit.tenancy import TenantScope

__all__ = ["FileStore", "OnAway", "pass_on"]

_FILE = re.compile(r"file-[0-9a-f]{42}", re.ASCII)
_UPLOAD = re.compile(r"[0-9a-f]{32}", re.ASCII)
_TIMEOUT_S = timedelta(seconds=30).total_seconds()
_PART_BYTES = 5 * 1024 * 1024
"""The smallest part that S3 takes; so much of a file is in memory, times the parts under way."""
_PARTS_AT_ONCE = 2
_RANGE_BYTES = 512 * 1024
"""One request of a reader, who holds as much. No answer stays open while the reader is busy: a
store cuts one that takes minutes, and a batch reads its input for hours."""

OnAway = Callable[[Retryable], Awaitable[None]]
"""Told that the store did not give the next part; returns when it is to be asked again, or raises
to give up."""


async def pass_on(error: Retryable) -> None:
    """An `OnAway` that gives up at once."""
    raise error


class FileStore:
    """Puts, streams and deletes files of any size. Every file lies below its tenant and its id.

    Raises:
        Fatal: the URL names no store that can be opened.
    """

    def __init__(self, settings: BlobSettings) -> None:
        self._store = open_store(settings.url)

    async def put(
        self, scope: TenantScope, file_id: str, *, upload: str, chunks: AsyncIterator[bytes]
    ) -> BlobRef:
        """Store what `chunks` yields; returns when all of it is durable.

        If `chunks` raises or the caller is cancelled, nothing is stored and the error passes.
        `upload`, 32 random hex digits, keeps two uploads of one id apart.

        Raises:
            Retryable: the store is away.
        """
        assert _UPLOAD.fullmatch(upload), upload
        path = f"{_folder(scope, file_id)}{upload}"
        digest = hashlib.sha256()
        size = 0

        async def measured() -> AsyncIterator[bytes]:
            nonlocal size
            async for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                yield chunk

        put = obstore.put_async(
            self._store,
            path,
            measured(),
            use_multipart=True,
            chunk_size=_PART_BYTES,
            max_concurrency=_PARTS_AT_ONCE,
        )
        await guarded(put, limit_s=None)
        return BlobRef(path=path, sha256=digest.hexdigest(), size_bytes=size)

    async def stream(
        self, scope: TenantScope, ref: BlobRef, *, on_away: OnAway = pass_on
    ) -> AsyncIterator[bytes]:
        """The file in chunks, as stored; proven after the last one.

        Each chunk is asked for on its own, so a reader may take any time between two of them.

        Args:
            scope: whose file it is.
            ref: the file.
            on_away: what to do while the store is away; reading goes on where it was.

        Raises:
            Rejected: `foreign_blob`, `missing_blob`, or `damaged_blob` after chunks were given out.
            Retryable: the store is away, and `on_away` passes it on.
        """
        _check(scope, ref)
        digest = hashlib.sha256()
        at = 0
        while at < ref.size_bytes:
            try:
                chunk = await self._part(ref, at)
            except Retryable as error:
                await on_away(error)
                continue
            digest.update(chunk)
            at += len(chunk)
            yield chunk
        if digest.hexdigest() != ref.sha256:
            raise _damaged()

    async def delete(self, scope: TenantScope, ref: BlobRef) -> None:
        """Delete the file; deleting what is gone is no error.

        Raises:
            Rejected: `foreign_blob`.
            Retryable: the store is away.
        """
        _check(scope, ref)
        try:
            await guarded(obstore.delete_async(self._store, ref.path), limit_s=_TIMEOUT_S)
        except Rejected:
            return

    async def _part(self, ref: BlobRef, at: int) -> bytes:
        end = min(at + _RANGE_BYTES, ref.size_bytes)
        get = obstore.get_async(self._store, ref.path, options={"range": (at, end)})
        result = await guarded(get, limit_s=_TIMEOUT_S)
        if result.meta["size"] != ref.size_bytes:
            raise _damaged()
        part = bytes(await guarded(result.bytes_async(), limit_s=_TIMEOUT_S))
        if len(part) != end - at:
            raise Retryable(f"the blob store gave {len(part)} of {end - at} bytes")
        return part


def _folder(scope: TenantScope, file_id: str) -> str:
    assert _FILE.fullmatch(file_id), file_id
    return f"{tenant_segment(scope.tenant)}/files/{file_id}/"


def _check(scope: TenantScope, ref: BlobRef) -> None:
    folder, _, upload = ref.path.rpartition("/")
    file_id = folder.rpartition("/")[2]
    is_ours = (
        _FILE.fullmatch(file_id) is not None
        and _UPLOAD.fullmatch(upload) is not None
        and f"{folder}/" == _folder(scope, file_id)
    )
    if not is_ours:
        raise Rejected("the reference does not lead to a file of this tenant", code="foreign_blob")


def _damaged() -> Rejected:
    return Rejected("the stored file differs from its reference", code="damaged_blob")
