"""A recorder in memory that folds when a test says so: lag, loss and absence of Redis by hand."""

from __future__ import annotations

from collections.abc import Callable

from penstock_contracts.events import JobStatus, Position
from penstock_contracts.ids import JobIds
from penstock_contracts.state import JobState
from penstock_contracts.surface import KeptRequest
from penstock_kit.jobs.memory_table import MemoryJobTable
from penstock_kit.jobs.patches import patch_of_event
from penstock_kit.jobs.replay import merge_events
from penstock_kit.jobs.view import JobPage, StoredEvent, TableAway
from penstock_kit.kafka.ports import Record
from penstock_kit.tail.tailed import TailedEvent
from penstock_kit.tenancy import TenantScope

from tests.support.events import as_record

__all__ = ["Recording"]


class Recording:
    """Implements `JobTable` over the in-memory table.

    Attributes:
        is_away: every read raises `TableAway`.
        on_read: called before each read of events, once.
    """

    def __init__(self, *, ids: JobIds | None = None) -> None:
        self.is_away = False
        self.on_read: Callable[[], None] | None = None
        self._ids = ids or JobIds(b"secret of tests, 32 bytes or more")
        self._table = MemoryJobTable()
        self._offset = 0
        self._reads = 0
        self._later: dict[int, tuple[TailedEvent, ...]] = {}
        self._merged: dict[str, int] = {}

    def fold(self, *events: TailedEvent) -> None:
        """Do what the recorder does with these events."""
        for event in events:
            out = as_record(event)
            record = Record(out.topic, 0, self._offset, out.key, out.value, out.headers, 1)
            self._offset += 1
            self._table.fold(patch_of_event(record, ids=self._ids))

    def fold_at_read(self, read: int, *events: TailedEvent) -> None:
        """Fold only before the so manieth read, counted from 1."""
        self._later[read] = events

    def merge_oldest(self, job: str, count: int) -> None:
        """From now on the oldest events of a job are merged, as the recorder does at its cap."""
        self._merged[job] = count

    async def get(self, scope: TenantScope, job_id: str) -> JobState | None:
        """See `JobTable.get`."""
        self._read()
        return await self._table.get(scope, job_id)

    async def page(
        self,
        scope: TenantScope,
        *,
        status: JobStatus | None = None,
        task: str | None = None,
        user: str | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> JobPage:
        """See `JobTable.page`."""
        self._read()
        return await self._table.page(
            scope, status=status, task=task, user=user, after=after, limit=limit
        )

    async def events(
        self, scope: TenantScope, job_id: str, *, after: Position | None = None
    ) -> list[StoredEvent]:
        """See `JobTable.events`."""
        self._read()
        if self.on_read is not None:
            happens, self.on_read = self.on_read, None
            happens()
        kept = await self._table.events(scope, job_id)
        count = self._merged.get(job_id, 0)
        merged = [*merge_events(kept[:count], cap_bytes=1 << 20), *kept[count:]]
        return [event for event in merged if after is None or event.position > after]

    async def request(self, scope: TenantScope, job_id: str) -> KeptRequest | None:
        """See `JobTable.request`."""
        self._read()
        return await self._table.request(scope, job_id)

    def _read(self) -> None:
        if self.is_away:
            raise TableAway("Redis is away")
        self._reads += 1
        self.fold(*self._later.pop(self._reads, ()))
