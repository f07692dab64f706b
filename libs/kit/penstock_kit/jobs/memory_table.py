"""A job table in memory: same contract, same fold; for tests of whoever reads the table."""

from __future__ import annotations

from penstock_contracts.events import JobStatus, Position
from penstock_contracts.state import JobState
from penstock_contracts.surface import KeptRequest

from penstock_kit.jobs.cursor import Cursor
from penstock_kit.jobs.facets import Facets, join, state_of
from penstock_kit.jobs.listing import Fetch, is_visible, list_page
from penstock_kit.jobs.patches import JobPatch
from penstock_kit.jobs.replay import end_of, select_events
from penstock_kit.jobs.view import JobPage, StoredEvent
from penstock_kit.tenancy import TenantScope

__all__ = ["MemoryJobTable"]


class MemoryJobTable:
    """Implements `JobTable`; `fold` is what the recorder does."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, str], Facets] = {}
        self._events: dict[tuple[str, str], list[StoredEvent]] = {}
        self._requests: dict[tuple[str, str], bytes] = {}

    def fold(self, patch: JobPatch) -> None:
        """Join what a record tells with what is known."""
        key = (patch.tenant, patch.job)
        before = self._jobs.get(key, Facets())
        self._jobs[key] = join(before, patch.facets)
        if patch.request:
            self._requests[key] = patch.request
        kept = self._events.setdefault(key, [])
        for event in patch.events:
            if event.position > (kept[-1].position if kept else Position(0, 0)):
                kept.append(event)

    async def get(self, scope: TenantScope, job_id: str) -> JobState | None:
        """See `JobTable.get`."""
        facets = self._jobs.get((scope.tenant, job_id))
        if facets is None or not is_visible(scope, facets):
            return None
        return state_of(scope.tenant, job_id, facets, with_output=True)

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

        def index_of(owner: str | None) -> Fetch:
            index = sorted(
                (
                    (Cursor(facets.meta.created_ms, job), facets)
                    for (tenant, job), facets in self._jobs.items()
                    if tenant == scope.tenant and facets.meta is not None
                    if owner is None or facets.meta.user == owner
                ),
                key=lambda entry: entry[0],
                reverse=True,
            )

            async def fetch(place: Cursor | None, count: int) -> list[tuple[Cursor, Facets]]:
                return [entry for entry in index if place is None or entry[0] < place][:count]

            return fetch

        return await list_page(
            scope, index_of, status=status, task=task, user=user, after=after, limit=limit
        )

    async def events(
        self, scope: TenantScope, job_id: str, *, after: Position | None = None
    ) -> list[StoredEvent]:
        """See `JobTable.events`; nothing is merged or dropped here."""
        facets = self._jobs.get((scope.tenant, job_id))
        if facets is None or not is_visible(scope, facets) or facets.deleted_ms is not None:
            return []
        kept = self._events.get((scope.tenant, job_id), [])
        return select_events(kept, after=after, end=end_of(facets.ending))

    async def request(self, scope: TenantScope, job_id: str) -> KeptRequest | None:
        """See `JobTable.request`."""
        key = (scope.tenant, job_id)
        facets, raw = self._jobs.get(key, Facets()), self._requests.get(key)
        if raw is None or not is_visible(scope, facets) or facets.deleted_ms is not None:
            return None
        return KeptRequest.model_validate_json(raw)
