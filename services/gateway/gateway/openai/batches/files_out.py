"""The files that a batch writes: spooled while it runs, stored when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog
from penstock_contracts.batches import BatchRequest
from penstock_contracts.files import FilePurpose, FileRecord
from penstock_contracts.ids import JobIds
from penstock_kit.clock import Clock
from penstock_kit.tenancy import TenantScope

from gateway.errors import ApiError
from gateway.openai.batches.spool import Spool
from gateway.openai.files.desk import FileDesk
from gateway.openai.files.fields import DEFAULT_LIFE
from gateway.openai.files.ids import FILE_PREFIX

__all__ = ["BatchOutput", "FilesOut"]

log = structlog.get_logger(__name__)

_PAUSE_S: Final = 2.0


class FilesOut:
    """Makes outputs."""

    def __init__(
        self, *, desk: FileDesk, ids: JobIds, clock: Clock, folder: Path | None = None
    ) -> None:
        self._folder = folder
        self._desk = desk
        self._ids = ids
        self._clock = clock

    def begin(self, request: BatchRequest) -> BatchOutput:
        """For one run of a batch; close it afterwards."""
        spools = (Spool(self._folder), Spool(self._folder))
        return BatchOutput(request, spools, desk=self._desk, ids=self._ids, clock=self._clock)


class BatchOutput:
    """Output and errors of one run. The files' ids follow from the batch's."""

    def __init__(
        self,
        request: BatchRequest,
        spools: tuple[Spool, Spool],
        *,
        desk: FileDesk,
        ids: JobIds,
        clock: Clock,
    ) -> None:
        self._request = request
        self._desk = desk
        self._ids = ids
        self._clock = clock
        self._output, self._errors = spools

    def add(self, line: bytes, *, is_well: bool) -> None:
        """A finished line; it goes to the file where a reader looks for it."""
        (self._output if is_well else self._errors).add(line)

    async def store(
        self, *, beforehand: Callable[[], Awaitable[None]]
    ) -> tuple[str | None, str | None]:
        """Ids of the stored output and error files; None where there is nothing to tell.

        `beforehand` is awaited before a file is touched; what it raises ends this: a run that was
        frozen must not clear away what its successor has stored.
        """
        return (
            await self._stored(self._output, "output", beforehand),
            await self._stored(self._errors, "error", beforehand),
        )

    def close(self) -> None:
        """Throw both spools away."""
        self._output.close()
        self._errors.close()

    async def _stored(
        self, spool: Spool, kind: str, beforehand: Callable[[], Awaitable[None]]
    ) -> str | None:
        if spool.lines == 0:
            return None
        while True:
            await beforehand()
            try:
                return await self._try(spool, kind)
            except ApiError as error:
                log.warning("batch.file_waits", batch=self._request.id, code=error.kind.code)
                await asyncio.sleep(_PAUSE_S)

    async def _try(self, spool: Spool, kind: str) -> str:
        request = self._request
        scope = TenantScope(request.tenant)
        file_id = self._file_id(kind)
        # A run that was killed here may have stored it, without lines that have ended since.
        await self._desk.clear(scope, file_id)
        blob = await self._desk.store(scope, file_id, spool.chunks())
        now = self._clock.now()
        seconds = request.output_expires_after_s
        life = DEFAULT_LIFE if seconds is None else timedelta(seconds=seconds)
        await self._desk.record(
            FileRecord(
                id=file_id,
                tenant=request.tenant,
                user=request.user,
                filename=f"{request.id}_{kind}.jsonl",
                purpose=FilePurpose.BATCH_OUTPUT,
                blob=blob,
                created_at=now,
                expires_at=now + life,
            )
        )
        return file_id

    def _file_id(self, kind: str) -> str:
        tenant = self._request.tenant
        key = f"{self._request.id}:{kind}"
        uuid = self._ids.uuid_for_key(tenant=tenant, route="batch-files", key=key)
        return FILE_PREFIX + self._ids.issue(tenant=tenant, uuid=uuid).removeprefix("job_")
