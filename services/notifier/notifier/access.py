"""Which jobs a caller may follow and call back."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Protocol

import structlog
from penstock_contracts.ids import JobIds, is_derived_job_id, is_job_id, issued_at
from penstock_kit.clock import Clock
from penstock_kit.errors import PenstockError
from penstock_kit.jobs.folding import once_folded
from penstock_kit.jobs.view import JobTable, TableAway
from penstock_kit.tenancy import TenantScope

__all__ = ["Access", "NoAccess", "Owners"]

log = structlog.get_logger(__name__)

_NOT_FOUND: Final = (
    "no job of yours has this id; check the id and that the credential is of the user who made it"
)
_TABLE_AWAY: Final = "the job table cannot tell at the moment; jobs run on, try again in a moment"
_OWNER_UNKNOWN: Final = "it is not known yet whose job this is; try again in a moment"


class NoAccess(PenstockError):
    """The caller may not do that with the job, or nobody can tell now; `Following` says so.

    Attributes:
        code: `not_found` or `unavailable`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Owners(Protocol):
    """Knows the owners of the jobs of the last minutes; part of `LiveEvents`."""

    def owner(self, tenant: str, job: str) -> TenantScope | None:
        """Whose job of a tenant this is, if that is known here."""
        ...


class Access:
    """Tells a caller's own jobs from all others, which do not exist for it.

    `job_ttl`: the table forgets ended jobs after that.
    """

    def __init__(
        self, *, owners: Owners, table: JobTable, ids: JobIds, clock: Clock, job_ttl: timedelta
    ) -> None:
        self._owners = owners
        self._table = table
        self._ids = ids
        self._clock = clock
        self._job_ttl = job_ttl

    async def check_follow(self, scope: TenantScope, job: str) -> None:
        """Return if the job exists and lies in the scope.

        A job that was accepted a moment ago may be in neither log nor table yet: then its id speaks
        for it, which only a gateway can make. The same holds while Redis is away; the events
        themselves are checked against the scope in any case.

        Raises:
            NoAccess: not_found; unavailable where only the table could tell.
        """
        await self._owner(scope, job)

    async def check_cancel(self, scope: TenantScope, job: str) -> None:
        """Return if the job is the caller's to call back.

        Nothing checks a cancel later on, so the id alone, which is good for the tenant, does not
        speak for a user: the owner is waited for a moment.

        Raises:
            NoAccess: as `check_follow`; unavailable while nobody can tell whose job it is.
        """
        if scope.user is None:
            await self._owner(scope, job)
            return
        owner = await once_folded(lambda: self._owner(scope, job), lambda found: found is not None)
        if owner is None:
            raise NoAccess("unavailable", _OWNER_UNKNOWN)

    async def _owner(self, scope: TenantScope, job: str) -> TenantScope | None:
        """Whose job this is; None: its id alone speaks for it, as one of the tenant.

        Raises:
            NoAccess: not_found; unavailable where only the table could tell.
        """
        if not is_job_id(job):
            raise NoAccess("not_found", _NOT_FOUND)
        owner, is_away = self._owners.owner(scope.tenant, job), False
        if owner is None:
            try:
                owner = await self._folded(scope.tenant, job)
            except TableAway:
                log.warning("access.table_away")
                is_away = True
        if owner is None:
            self._check_id(scope, job, is_away=is_away)
        elif not scope.may_see(tenant=owner.tenant, user=owner.user):
            raise NoAccess("not_found", _NOT_FOUND)
        return owner

    async def _folded(self, tenant: str, job: str) -> TenantScope | None:
        state = await self._table.get(TenantScope(tenant), job)
        return None if state is None else TenantScope(state.tenant, state.user)

    def _check_id(self, scope: TenantScope, job: str, *, is_away: bool) -> None:
        is_issued = self._ids.was_issued(job, tenant=scope.tenant)
        if is_issued and not self._is_forgotten(job):
            return
        # What another service's event named, or is as old as that, only the table knows.
        if is_away and (is_issued or is_derived_job_id(job)):
            raise NoAccess("unavailable", _TABLE_AWAY)
        raise NoAccess("not_found", _NOT_FOUND)

    def _is_forgotten(self, job: str) -> bool:
        at = issued_at(job)
        return at is not None and at < self._clock.now() - self._job_ttl
