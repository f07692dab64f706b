"""Pages of jobs: what a scope may see, filtered, newest first; the same for every table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from penstock_contracts.events import JobStatus
from penstock_contracts.state import JobState

from penstock_kit.jobs.cursor import Cursor
from penstock_kit.jobs.facets import Facets, state_of, status_of
from penstock_kit.jobs.view import JobPage
from penstock_kit.tenancy import TenantScope

__all__ = ["Fetch", "is_visible", "list_page"]

_SCAN_BATCH = 200
"""Jobs fetched per round trip where a filter drops some."""
_SCAN_LIMIT = 5_000
"""Jobs looked at for one page: a rare filter gives a short page with a cursor, never a slow
answer."""

Fetch = Callable[[Cursor | None, int], Awaitable[list[tuple[Cursor, Facets]]]]
"""Jobs of one index after a place, newest first; fewer than asked for at its end."""


@dataclass(frozen=True, slots=True)
class _JobFilter:
    """Which jobs a listing is about; None: all."""

    status: JobStatus | None = None
    task: str | None = None

    def accepts(self, state: JobState) -> bool:
        """Whether the job belongs into the listing."""
        return self.task is None or state.task == self.task


def is_visible(scope: TenantScope, facets: Facets) -> bool:
    """Whether a job of the scope's tenant lies inside it; without an owner it is the tenant's."""
    owner = facets.meta.user if facets.meta is not None else None
    return scope.may_see(tenant=scope.tenant, user=owner)


async def list_page(
    scope: TenantScope,
    index_of: Callable[[str | None], Fetch],
    *,
    status: JobStatus | None,
    task: str | None,
    user: str | None,
    after: str | None,
    limit: int,
) -> JobPage:
    """See `JobTable.page`; `index_of` gives the index of a user's jobs, or of all of the tenant."""
    place = Cursor.parse(after) if after is not None else None
    if scope.user is not None and user not in (None, scope.user):
        return JobPage([], None)
    fetch = index_of(user if user is not None else scope.user)
    return await _collect(scope, fetch, _JobFilter(status, task), after=place, limit=limit)


async def _collect(
    scope: TenantScope, fetch: Fetch, wanted: _JobFilter, *, after: Cursor | None, limit: int
) -> JobPage:
    is_filtered = wanted != _JobFilter()
    count = _SCAN_BATCH if is_filtered else limit + 1
    found: list[tuple[Cursor, JobState]] = []
    place = after
    for _ in range(max(1, _SCAN_LIMIT // count)):
        batch = await fetch(place, count)
        for place, facets in batch:
            state = _listed(scope, place.job, facets, wanted)
            if state is not None:
                found.append((place, state))
            if len(found) > limit:
                return JobPage([state for _, state in found[:limit]], str(found[limit - 1][0]))
        if len(batch) < count:
            return JobPage([state for _, state in found], None)
    return JobPage([state for _, state in found], str(place))


def _listed(scope: TenantScope, job: str, facets: Facets, wanted: _JobFilter) -> JobState | None:
    """The job without output if it belongs here; its status is compared before JSON is parsed."""
    if not is_visible(scope, facets):
        return None
    if wanted.status is not None and status_of(facets) is not wanted.status:
        return None
    state = state_of(scope.tenant, job, facets, with_output=False)
    return state if state is not None and wanted.accepts(state) else None
