"""Which jobs a caller may follow and call back."""

from __future__ import annotations

from typing import Protocol

import structlog
from penstock_contracts.ids import JobIds, is_job_id
from penstock_kit.jobs.view import JobTable, TableAway
from penstock_kit.tenancy import TenantScope

__all__ = ["Access", "Owners"]

log = structlog.get_logger(__name__)


class Owners(Protocol):
    """Knows the owners of the jobs of the last minutes; part of `LiveEvents`."""

    def owner(self, tenant: str, job: str) -> TenantScope | None:
        """Whose job of a tenant this is, if that is known here."""
        ...


class Access:
    """Tells a caller's own jobs from all others, which do not exist for it."""

    def __init__(self, *, owners: Owners, table: JobTable, ids: JobIds) -> None:
        self._owners = owners
        self._table = table
        self._ids = ids

    async def may_see(self, scope: TenantScope, job: str) -> bool:
        """Whether the job exists and lies in the scope.

        A job that was accepted a moment ago may be in neither log nor table yet: then its id speaks
        for it, which only a gateway can make. The same holds while Redis is away; the events
        themselves are checked against the scope in any case.
        """
        if not is_job_id(job):
            return False
        owner = self._owners.owner(scope.tenant, job) or await self._folded(scope.tenant, job)
        if owner is not None:
            return scope.may_see(tenant=owner.tenant, user=owner.user)
        return self._ids.was_issued(job, tenant=scope.tenant)

    async def _folded(self, tenant: str, job: str) -> TenantScope | None:
        try:
            state = await self._table.get(TenantScope(tenant), job)
        except TableAway:
            log.warning("access.table_away")
            return None
        return None if state is None else TenantScope(state.tenant, state.user)
