"""Lines become jobs of low priority; their ids follow from batch and line."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from penstock_contracts.ids import JobIds
from penstock_contracts.requests import Priority
from penstock_kit.auth.principal import Principal
from penstock_kit.tasks import TaskCatalog

from gateway.openai.asking import Ask, Follow, checked_job
from gateway.records import RequestEvent
from gateway.submit import PreparedJob, Submitter
from gateway.views import rfc3339

__all__ = ["LineSubmitter"]

_ROUTE = "batch-lines"


class LineSubmitter:
    """Submits the lines of batches."""

    def __init__(self, *, submitter: Submitter, tasks: TaskCatalog, ids: JobIds) -> None:
        self._submitter = submitter
        self._tasks = tasks
        self._ids = ids

    def job_of(self, tenant: str, batch: str, line: int) -> str:
        """The id of a line's job: whoever runs the batch gives it the same."""
        uuid = self._ids.uuid_for_key(tenant=tenant, route=_ROUTE, key=f"{batch}:{line}")
        return self._ids.issue(tenant=tenant, uuid=uuid)

    async def submit(
        self, ask: Ask, job: str, *, principal: Principal, now: datetime, deadline: datetime
    ) -> None:
        """Submit once more or for the first time: repetitions are harmless, workers drop them.

        Raises:
            ApiError: the job was not accepted; `kind.should_retry` says whether it may be later.
        """
        left_s = max(1.0, (deadline - now).total_seconds())
        # Who follows a batch hears of the ends of its lines; their text as it comes nobody needs.
        ask = replace(
            ask,
            priority=Priority.LOW,
            deadline_s=left_s,
            follow=Follow.NOTHING,
            is_streamed=False,
        )
        event = RequestEvent(
            job=job,
            principal=principal,
            checked=checked_job(ask, self._tasks),
            created_at=now,
            created_text=rfc3339(now),
            deadline=deadline,
        )
        await self._submitter.accept(PreparedJob(event, None, None, _ROUTE, is_watched=False))
