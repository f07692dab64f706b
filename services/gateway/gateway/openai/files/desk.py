"""Files of callers: taking, finding, listing, reading, deleting. Others learn nothing of them.

A file is taken when its content is durable and the log has its record, in this order; what comes
before leaves nothing behind when it fails.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog
from penstock_contracts.codec import decode_model
from penstock_contracts.files import FilePurpose, FileRecord
from penstock_contracts.ids import JobIds, new_uuid7
from penstock_contracts.parts import BlobRef
from penstock_kit.auth.principal import Principal
from penstock_kit.batches.records import file_record, file_tombstone, shelved_file
from penstock_kit.batches.shelf import PageAsk, Shelf
from penstock_kit.blobs.files import OnAway, pass_on
from penstock_kit.clock import Clock
from penstock_kit.errors import Rejected, Retryable
from penstock_kit.jobs.view import TableAway
from penstock_kit.kafka.ports import BrokerFault, DeliveryUnknown, OutRecord, Producer, ProducerFull
from penstock_kit.tenancy import TenantScope

from gateway.errors import ApiError
from gateway.openai.files.ids import FILE_PREFIX, issued
from gateway.openai.files.in_use import FilesInUse
from gateway.status import table_unavailable

__all__ = ["FileDesk", "FileContents", "FilePage", "NewFile", "Taken"]

log = structlog.get_logger(__name__)

_ROUTE = "files"
"""Scope of Idempotency-Keys beside the tenant."""


class FileContents(Protocol):
    """Where the content of files lies; see `penstock_kit.blobs.files.FileStore`."""

    async def put(
        self, scope: TenantScope, file_id: str, *, upload: str, chunks: AsyncIterator[bytes]
    ) -> BlobRef:
        """Store all of it or nothing."""
        ...

    def stream(
        self, scope: TenantScope, ref: BlobRef, *, on_away: OnAway = pass_on
    ) -> AsyncIterator[bytes]:
        """The content in chunks; `on_away` waits for a store that is away, or gives up."""
        ...

    async def delete(self, scope: TenantScope, ref: BlobRef) -> None:
        """Delete it; works twice."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A file whose content is stored, and that the log does not have yet."""

    id: str
    principal: Principal
    filename: str
    blob: BlobRef
    life: timedelta
    purpose: FilePurpose = FilePurpose.BATCH
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that the log has; `is_replay`: its Idempotency-Key was used before."""

    file: FileRecord
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class FilePage:
    """Some files, in the order asked for."""

    files: list[FileRecord]
    has_more: bool


class FileDesk:
    """The verbs of `/v1/files`. `randomness(n)` gives n random bytes."""

    def __init__(
        self,
        *,
        contents: FileContents,
        shelf: Shelf,
        in_use: FilesInUse,
        producer: Producer,
        ids: JobIds,
        clock: Clock,
        randomness: Callable[[int], bytes],
    ) -> None:
        self._contents = contents
        self._shelf = shelf
        self._in_use = in_use
        self._producer = producer
        self._ids = ids
        self._clock = clock
        self._randomness = randomness

    def new_id(self, tenant: str, key: str | None = None) -> str:
        """An id for a file to come; the same Idempotency-Key gives the same."""
        if key is not None:
            uuid = self._ids.uuid_for_key(tenant=tenant, route=_ROUTE, key=key)
        else:
            now_ms = int(self._clock.now().timestamp() * 1000)
            uuid = new_uuid7(now_ms=now_ms, randomness=self._randomness(10))
        return FILE_PREFIX + self._ids.issue(tenant=tenant, uuid=uuid).removeprefix("job_")

    async def store(
        self, scope: TenantScope, file_id: str, chunks: AsyncIterator[bytes]
    ) -> BlobRef:
        """Make content durable; what `chunks` raises passes, and then nothing is stored.

        Raises:
            ApiError: blobs_unavailable.
        """
        upload = self._randomness(16).hex()
        try:
            return await self._contents.put(scope, file_id, upload=upload, chunks=chunks)
        except Retryable as error:
            raise _blobs_away(error, "nothing is kept, send it again") from error

    async def discard(self, scope: TenantScope, blob: BlobRef) -> None:
        """Throw content away that no record names."""
        try:
            await self._contents.delete(scope, blob)
        except Retryable as error:
            log.warning("file.not_discarded", path=blob.path, error=str(error))

    async def take(self, new: NewFile) -> Taken:
        """Write the file's record and wait until the log has it.

        Raises:
            ApiError: idempotency_key_reused, broker_busy, acceptance_unknown, table_unavailable.
        """
        scope = TenantScope(new.principal.tenant)
        if new.idempotency_key is not None:
            earlier = await self._earlier(scope, new)
            if earlier is not None:
                return Taken(earlier, is_replay=True)
        now = self._clock.now()
        file = FileRecord(
            id=new.id,
            tenant=new.principal.tenant,
            user=new.principal.user,
            filename=new.filename,
            purpose=new.purpose,
            blob=new.blob,
            created_at=now,
            expires_at=now + new.life,
        )
        try:
            known = await self.record(file)
        except ApiError as error:
            if error.kind.code != "acceptance_unknown":
                await self.discard(scope, new.blob)
            raise
        if known.blob == file.blob:
            return Taken(file)
        _require_same(known, new)
        return Taken(known, is_replay=True)

    async def record(self, file: FileRecord) -> FileRecord:
        """Let the log have a file, and show it at once; the file that has the id from now on.

        It is another one if two were sent at the same moment with one key: the first that is shown
        counts, and the content of the second is discarded.

        Raises:
            ApiError: broker_busy, acceptance_unknown.
        """
        await self._send(file_record(file))
        try:
            if await self._shelf.put(shelved_file(file)):
                return file
            known = await self._known(TenantScope(file.tenant), file.id)
        except TableAway:
            log.debug("file.shown_later", file=file.id)  # the recorder folds the record as well
            return file
        if known is None or known.blob == file.blob:
            return file
        await self._withdraw(file, known)
        return known

    async def _withdraw(self, file: FileRecord, known: FileRecord) -> None:
        """Let the log say last what is shown, and then discard what nobody names any more."""
        try:
            await self._send(file_record(known))
        except ApiError as error:
            log.warning("file.not_withdrawn", path=file.blob.path, error=str(error))
        else:
            await self.discard(TenantScope(file.tenant), file.blob)

    async def clear(self, scope: TenantScope, file_id: str) -> None:
        """Remove the file that has this id, if one has.

        Raises:
            ApiError: table_unavailable; as `remove`.
        """
        try:
            known = await self._known(scope, file_id)
        except TableAway as error:
            raise table_unavailable(error) from error
        if known is not None:
            await self.remove(known)

    async def find(self, principal: Principal, file_id: str) -> FileRecord:
        """The file, if the caller may see it and it has not expired.

        Raises:
            ApiError: file_not_found, table_unavailable.
        """
        if not issued(self._ids, FILE_PREFIX, file_id, tenant=principal.tenant):
            raise _not_found()
        try:
            value = await self._shelf.get(principal.scope, file_id)
        except TableAway as error:
            raise table_unavailable(error) from error
        file = None if value is None else decode_model(FileRecord, value)
        if file is None or file.expires_at <= self._clock.now():
            raise _not_found()
        return file

    async def page(
        self, principal: Principal, ask: PageAsk, *, purpose: str | None = None
    ) -> FilePage:
        """A page of the files that the caller may see.

        Raises:
            ApiError: invalid_value for an `after` that is none; table_unavailable.
        """
        now = self._clock.now()

        def accepts(value: bytes) -> bool:
            file = decode_model(FileRecord, value)
            return file.expires_at > now and purpose in (None, file.purpose.value)

        ask = PageAsk(
            after=ask.after, limit=ask.limit, is_ascending=ask.is_ascending, accepts=accepts
        )
        try:
            page = await self._shelf.page(principal.scope, ask)
        except TableAway as error:
            raise table_unavailable(error) from error
        if page is None:
            message = "Invalid 'after': there is no such file; use the last_id of the page before."
            raise ApiError("invalid_value", message, param="after")
        return FilePage([decode_model(FileRecord, value) for value in page.values], page.has_more)

    async def content(self, file: FileRecord) -> AsyncIterator[bytes]:
        """The content in chunks; the first one is fetched before this returns.

        Raises:
            ApiError: blobs_unavailable, file_not_found.
        """
        chunks = aiter(self._contents.stream(TenantScope(file.tenant), file.blob))
        try:
            first = await anext(chunks, b"")
        except Retryable as error:
            raise _blobs_away(error, "ask again later") from error
        except Rejected as error:
            raise _not_found() from error
        return _chained(first, chunks)

    async def delete(self, file: FileRecord) -> None:
        """Delete a file at its owner's wish.

        Raises:
            ApiError: file_in_use, table_unavailable; as `remove`.
        """
        if file.purpose is FilePurpose.BATCH:
            await self._require_unused(file)
        await self.remove(file)

    async def _require_unused(self, file: FileRecord) -> None:
        try:
            in_use = await self._in_use.of(file.tenant)
        except TableAway as error:
            raise table_unavailable(error) from error
        if file.id in in_use:
            message = (
                f"{in_use[file.id]} still reads this file; wait until the batch is over, or "
                "cancel it first."
            )
            raise ApiError("file_in_use", message, param="id")

    async def remove(self, file: FileRecord) -> None:
        """Delete the content, then say so in the log: what is gone is never promised.

        Raises:
            ApiError: blobs_unavailable, broker_busy, acceptance_unknown.
        """
        scope = TenantScope(file.tenant)
        try:
            await self._contents.delete(scope, file.blob)
        except Retryable as error:
            raise _blobs_away(error, "nothing was deleted, try again later") from error
        await self._send(file_tombstone(file))
        try:
            await self._shelf.drop(scope, file.id)
        except TableAway:
            log.debug("file.dropped_later", file=file.id)

    async def _earlier(self, scope: TenantScope, new: NewFile) -> FileRecord | None:
        """The file that the same key has made before; `new` is discarded where it is not taken.

        Raises:
            ApiError: idempotency_key_reused, table_unavailable.
        """
        try:
            known = await self._known(scope, new.id)
        except TableAway as error:
            await self.discard(scope, new.blob)
            raise table_unavailable(error) from error
        if known is not None:
            await self.discard(scope, new.blob)
            _require_same(known, new)
        return known

    async def _known(self, scope: TenantScope, file_id: str) -> FileRecord | None:
        value = await self._shelf.get(scope, file_id)
        return None if value is None else decode_model(FileRecord, value)

    async def _send(self, record: OutRecord) -> None:
        try:
            await self._producer.send(record)
        except ProducerFull as error:
            message = "the log takes nothing at the moment; send it again"
            raise ApiError("broker_busy", message, retry_after_s=error.retry_after_s) from error
        except (DeliveryUnknown, BrokerFault) as error:
            message = "the log did not confirm it in time; look whether it is there, or try again"
            raise ApiError("acceptance_unknown", message, retry_after_s=5.0) from error


def _require_same(known: FileRecord, new: NewFile) -> None:
    """What came with the key of an earlier file has to be that file, of the same user."""
    is_same = (
        known.user == new.principal.user
        and known.blob.sha256 == new.blob.sha256
        and known.filename == new.filename
        and known.expires_at - known.created_at == new.life
    )
    if not is_same:
        message = (
            "this Idempotency-Key was used with another file, by another user or with another "
            "expires_after; use a fresh key for a new file, or repeat the first request"
        )
        raise ApiError("idempotency_key_reused", message, param="Idempotency-Key")


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


def _not_found() -> ApiError:
    message = "No such File object is visible to you; it may be deleted or expired. Check the id."
    return ApiError("file_not_found", message, param="id")


def _blobs_away(error: Retryable, advice: str) -> ApiError:
    message = f"the store for files does not answer; {advice}"
    return ApiError("blobs_unavailable", message, retry_after_s=error.retry_after_s or 2.0)
