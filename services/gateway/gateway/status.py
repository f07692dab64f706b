"""Looking at jobs: one, its result, a page. Whoever may not see a job learns nothing of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock_contracts.events import JobStatus
from penstock_contracts.ids import JobIds, is_derived_job_id, is_job_id, issued_at
from penstock_contracts.state import JobState
from penstock_kit.auth.principal import Principal
from penstock_kit.clock import Clock
from penstock_kit.errors import Rejected, Retryable
from penstock_kit.jobs.folding import once_folded
from penstock_kit.jobs.view import JobPage, JobTable, TableAway
from penstock_kit.tenancy import TenantScope

from gateway.errors import ApiError
from gateway.ports import Blobs
from gateway.recent import RecentJobs

__all__ = ["JobReader", "PageQuery", "reading_scope", "table_unavailable"]

_NOT_FOUND = "no job of that id is visible to you; check the id and whose key you use"
_KNOWN_IN_S = 1.0
"""The recorder folds a job within a fraction of that, unless it is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """Which jobs a listing is about."""

    status: JobStatus | None = None
    task: str | None = None
    user: str | None = None
    after: str | None = None
    limit: int = 20


class JobReader:
    """Reads jobs for callers.

    `fresh_for`: while the table is away, ids younger than that are answered as queued.
    `job_ttl`: the table forgets ended jobs after that.
    """

    def __init__(
        self,
        *,
        table: JobTable,
        ids: JobIds,
        recent: RecentJobs,
        blobs: Blobs,
        clock: Clock,
        fresh_for: timedelta,
        job_ttl: timedelta,
    ) -> None:
        self._table = table
        self._ids = ids
        self._recent = recent
        self._blobs = blobs
        self._clock = clock
        self._fresh_for = fresh_for
        self._job_ttl = job_ttl

    async def find(self, principal: Principal, job: str) -> JobState:
        """The job as far as it is known; accepted jobs that nobody has folded yet are `queued`.

        Raises:
            ApiError: job_not_found; or table_unavailable where only the table could tell.
        """
        if not is_job_id(job):
            raise ApiError("job_not_found", _NOT_FOUND)
        away: TableAway | None = None
        try:
            state = await self._folded(TenantScope(principal.tenant), job)
        except TableAway as error:
            state, away = None, error
        if state is not None:
            return _visible(state, principal)
        seen = self._recent.get(job)
        if seen is not None and (away is None or self._is_fresh(seen.created_at)):
            state = JobState(
                job=job,
                tenant=seen.tenant,
                user=seen.user,
                task=seen.task,
                status=JobStatus.QUEUED,
                model=seen.model,
                priority=seen.priority,
                demoted=seen.is_demoted or None,
                created_at=seen.created_at,
            )
            return _visible(state, principal)
        return self._by_id_alone(principal, job, away)

    async def find_owned(self, principal: Principal, job: str) -> JobState:
        """The same, after waiting a moment for whose job it is where only its id is known.

        That is so if another gateway took it just now. `task` is None where it stays unknown.

        Raises:
            ApiError: as `find`.
        """
        return await once_folded(lambda: self.find(principal, job), _is_known)

    async def find_own(self, principal: Principal, job: str) -> JobState:
        """The same, for what nobody may do to the job of another user.

        Raises:
            ApiError: as `find`; table_unavailable while nobody can tell whose job it is.
        """
        state = await self.find_owned(principal, job)
        if not _is_known(state) and principal.scope.user is not None:
            message = "it is not known yet whose job this is; ask again in a moment"
            raise ApiError("table_unavailable", message, retry_after_s=_KNOWN_IN_S)
        return state

    async def _folded(self, scope: TenantScope, job: str) -> JobState | None:
        """The table's word. Whoever has seen a job end is not told afterwards that it runs."""

        def agrees(state: JobState | None) -> bool:
            is_over = state is not None and state.status.is_terminal
            return is_over or not self._recent.has_ended(job)

        return await once_folded(lambda: self._table.get(scope, job), agrees)

    async def result(self, state: JobState) -> AsyncIterator[bytes]:
        """The output's JSON of a completed job; the first chunk is fetched before this returns.

        Raises:
            ApiError: the job is not over, or ended without a result; blobs_unavailable,
                result_gone.
        """
        if state.status is not JobStatus.COMPLETED:
            raise _no_result(state)
        if state.output is not None:
            return _once(state.output.model_dump_json(exclude_none=True).encode())
        if state.output_ref is None:
            raise ApiError("result_gone", "the result of this job is no longer stored")
        chunks = aiter(self._blobs.stream(TenantScope(state.tenant), state.output_ref))
        try:
            first = await anext(chunks, b"")
        except Retryable as error:
            message = "the store for large results does not answer; ask again later"
            raise ApiError(
                "blobs_unavailable", message, retry_after_s=error.retry_after_s or 2.0
            ) from error
        except Rejected as error:
            raise ApiError("result_gone", "the result of this job is no longer stored") from error
        return _chained(first, chunks)

    async def page(self, principal: Principal, query: PageQuery) -> JobPage:
        """A page of the jobs that the caller may see.

        Raises:
            ApiError: invalid_parameter for a cursor that is none; table_unavailable.
        """
        try:
            return await self._table.page(
                principal.scope,
                status=query.status,
                task=query.task,
                user=query.user,
                after=query.after,
                limit=query.limit,
            )
        except TableAway as error:
            raise table_unavailable(error) from error
        except ValueError as error:
            message = "after: no cursor of this listing; use next_cursor of the page before"
            raise ApiError("invalid_parameter", message, param="after") from error

    def _by_id_alone(self, principal: Principal, job: str, away: TableAway | None) -> JobState:
        if not self._ids.was_issued(job, tenant=principal.tenant):
            # An id that another service's event gave carries no proof: only the table knows it.
            if away is not None and is_derived_job_id(job):
                raise table_unavailable(away)
            raise ApiError("job_not_found", _NOT_FOUND)
        created_at = issued_at(job)
        if away is not None and (created_at is None or not self._is_fresh(created_at)):
            raise table_unavailable(away)
        if created_at is not None and created_at < self._clock.now() - self._job_ttl:
            raise ApiError("job_not_found", _NOT_FOUND)
        return JobState(
            job=job, tenant=principal.tenant, status=JobStatus.QUEUED, created_at=created_at
        )

    def _is_fresh(self, created_at: datetime) -> bool:
        return created_at > self._clock.now() - self._fresh_for


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


def reading_scope(principal: Principal, state: JobState) -> TenantScope:
    """Where the events of a job that was found lie.

    Whoever may see the job reads as the tenant: events of direct producers may carry no user. While
    its id alone is known, the caller reads as itself: it may be the job of another user.
    """
    return TenantScope(principal.tenant) if _is_known(state) else principal.scope


def table_unavailable(error: TableAway) -> ApiError:
    """The answer where only the table could tell."""
    message = "the job table cannot tell at the moment; jobs run on, ask again later"
    return ApiError("table_unavailable", message, retry_after_s=error.retry_after_s)


def _is_known(state: JobState) -> bool:
    return state.task is not None


def _visible(state: JobState, principal: Principal) -> JobState:
    if not principal.scope.may_see(tenant=state.tenant, user=state.user):
        raise ApiError("job_not_found", _NOT_FOUND)
    return state


def _no_result(state: JobState) -> ApiError:
    if not state.status.is_terminal:
        message = f"the job is {state.status.value}; ask again later or follow its events"
        return ApiError(
            "not_completed",
            message,
            retry_after_s=1,
            members={"status_of_job": state.status.value},
        )
    if state.status is JobStatus.CANCELLED:
        return ApiError("job_cancelled", "the job was cancelled, it has no result")
    if state.status is JobStatus.EXPIRED:
        return ApiError(
            "job_expired", "the job was not started before its deadline; nothing was charged"
        )
    code = "job_failed" if state.status is JobStatus.FAILED else "job_outcome_unknown"
    if state.error is None:
        return ApiError(code, "the job ended without a result")
    return ApiError(
        code,
        state.error.message,
        members={
            "error": {
                "message": state.error.message,
                "type": state.error.type,
                "param": state.error.param,
                "code": state.error.code,
            }
        },
    )
