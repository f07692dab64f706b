"""Shelves and events in memory, for tests and embedded use; the suite of the real ones holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from penstock_kit.batches.events import KeptEvent
from penstock_kit.batches.shelf import PageAsk, ShelfPage, Shelved
from penstock_kit.jobs.view import TableAway
from penstock_kit.tenancy import TenantScope

__all__ = ["MemoryBatchEvents", "MemoryRecalls", "MemoryShelf"]


class MemoryShelf:
    """Implements `Shelf`. `is_away` makes every call fail."""

    def __init__(self) -> None:
        self.is_away = False
        self._records: dict[tuple[str, str], Shelved] = {}

    async def put(self, record: Shelved) -> bool:
        """See `Shelf.put`."""
        self._check()
        key = (record.scope.tenant, record.id)
        known = self._records.get(key)
        if known is not None and known.version >= record.version:
            return False
        self._records[key] = record
        return True

    async def drop(self, scope: TenantScope, record_id: str) -> None:
        """See `Shelf.drop`."""
        self._check()
        self._records.pop((scope.tenant, record_id), None)

    async def due(self, now: datetime, *, limit: int) -> list[tuple[TenantScope, str]]:
        """See `Shelf.due`."""
        self._check()
        found = [
            (record.due_at, TenantScope(tenant), name)
            for (tenant, name), record in self._records.items()
            if record.due_at is not None and record.due_at <= now
        ]
        found.sort(key=lambda entry: entry[0])
        return [(scope, name) for _, scope, name in found[:limit]]

    async def get(self, scope: TenantScope, record_id: str) -> bytes | None:
        """See `Shelf.get`."""
        self._check()
        record = self._records.get((scope.tenant, record_id))
        if record is None or not scope.may_see(tenant=scope.tenant, user=record.user):
            return None
        return record.value

    async def page(self, scope: TenantScope, ask: PageAsk) -> ShelfPage | None:
        """See `Shelf.page`."""
        self._check()
        records = sorted(
            (
                record
                for (tenant, _), record in self._records.items()
                if scope.may_see(tenant=tenant, user=record.user)
            ),
            key=lambda record: (int(record.created_at.timestamp() * 1000), record.id),
            reverse=not ask.is_ascending,
        )
        if ask.after is not None:
            ids = [record.id for record in records]
            if ask.after not in ids:
                return None
            records = records[ids.index(ask.after) + 1 :]
        found = [record.value for record in records if ask.accepts(record.value)]
        return ShelfPage(found[: ask.limit], len(found) > ask.limit)

    def _check(self) -> None:
        if self.is_away:
            raise TableAway("the shelf is away, as the test wants it")


class MemoryBatchEvents:
    """Implements `BatchEvents`. `is_away` makes every reading fail."""

    def __init__(self) -> None:
        self.is_away = False
        self._events: dict[tuple[str, str], list[KeptEvent]] = {}

    async def keep(self, events: Sequence[tuple[TenantScope, str, KeptEvent]]) -> None:
        """See `RedisBatchEvents.keep`."""
        for scope, batch, event in events:
            kept = self._events.setdefault((scope.tenant, batch), [])
            if not kept or kept[-1].number < event.number:
                kept.append(event)

    async def read(
        self, scope: TenantScope, batch: str, *, after: int, limit: int = 500
    ) -> list[KeptEvent]:
        """See `BatchEvents.read`."""
        if self.is_away:
            raise TableAway("the events are away, as the test wants it")
        kept = self._events.get((scope.tenant, batch), [])
        return [event for event in kept if event.number > after][:limit]


class MemoryRecalls:
    """Implements `Recalls`."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, str], datetime] = {}

    async def note(self, scope: TenantScope, batch: str, at: datetime) -> None:
        """See `Recalls.note`."""
        self._noted.setdefault((scope.tenant, batch), at)

    async def asked(self, scope: TenantScope, batches: Sequence[str]) -> list[datetime | None]:
        """See `Recalls.asked`."""
        return [self._noted.get((scope.tenant, batch)) for batch in batches]
