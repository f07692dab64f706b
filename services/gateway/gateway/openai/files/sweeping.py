"""Expired files leave the blob store and the log; the input of a batch when the batch is over."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from penstock_contracts.codec import decode_model
from penstock_contracts.files import FileRecord
from penstock_kit.batches.shelf import Shelf
from penstock_kit.clock import Clock
from penstock_kit.ending import end_tasks
from penstock_kit.jobs.view import TableAway
from penstock_kit.tenancy import TenantScope

from gateway.errors import ApiError
from gateway.openai.files.desk import FileDesk
from gateway.openai.files.in_use import FilesInUse

__all__ = ["FileSweeper"]

log = structlog.get_logger(__name__)

_EVERY = timedelta(minutes=5)
_AT_ONCE = 100

_Due = tuple[TenantScope, str]


class FileSweeper:
    """A Part. Gateways that sweep at the same time do no harm: deleting works twice."""

    def __init__(
        self,
        *,
        desk: FileDesk,
        shelf: Shelf,
        in_use: FilesInUse,
        clock: Clock,
        every: timedelta = _EVERY,
    ) -> None:
        self._desk = desk
        self._in_use = in_use
        self._shelf = shelf
        self._clock = clock
        self._every_s = every.total_seconds()
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep_for_ever(), name="sweep files")

    async def stop(self) -> None:
        """End; what is left is swept by the next."""
        if self._sweeping is not None:
            await end_tasks(self._sweeping)
            self._sweeping = None

    async def sweep(self) -> int:
        """Delete what has expired; how many files that were.

        Raises:
            TableAway: Redis does not answer.
            ApiError: the blob store or the log is away.
        """
        count = 0
        kept: set[_Due] = set()
        in_use: dict[str, dict[str, str]] = {}
        while due := await self._due(kept):
            for scope, file_id in due:
                if scope.tenant not in in_use:
                    # Read once in a sweep: no new batch takes a file that has expired.
                    in_use[scope.tenant] = await self._in_use.of(scope.tenant)
                if file_id in in_use[scope.tenant]:
                    kept.add((scope, file_id))
                else:
                    count += await self._remove(scope, file_id)
        return count

    async def _due(self, kept: set[_Due]) -> list[_Due]:
        due = await self._shelf.due(self._clock.now(), limit=_AT_ONCE + len(kept))
        return [entry for entry in due if entry not in kept]

    async def _remove(self, scope: TenantScope, file_id: str) -> int:
        value = await self._shelf.get(scope, file_id)
        if value is None:
            await self._shelf.drop(scope, file_id)
            return 0
        await self._desk.remove(decode_model(FileRecord, value))
        return 1

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                if count := await self.sweep():
                    log.info("files.expired", count=count)
            except (TableAway, ApiError) as error:
                log.warning("files.sweep_cut", error=str(error))
            except Exception:  # the loop's edge: one bad record must not end the sweeping
                log.exception("files.sweep_failed")
            await asyncio.sleep(self._every_s)
