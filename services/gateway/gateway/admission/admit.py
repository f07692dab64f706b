"""Letting a checked job in, or saying kindly why not and when again.

429 is the caller's own doing (a quota, or the tenant's backlog), 503 is ours (everybody's backlog,
or no worker in time). A replay of an Idempotency-Key always gets its answer and counts once. What
is refused, here or later, counts nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

from penstock_contracts.requests import Priority
from penstock_kit.auth.principal import Principal
from penstock_kit.tenancy import TenantScope

from gateway.admission.backlog import Backlog, Taken
from gateway.admission.crowd import Crowd
from gateway.admission.headers import quota_headers
from gateway.admission.metrics import AdmissionMetrics
from gateway.admission.rules import LimitBook
from gateway.admission.store import AdmissionStore, Ask, KeyClaim, Reply, Verdict
from gateway.errors import ApiError

__all__ = ["Admission", "Admitted", "Candidate"]

_NOISY_SHARE = 0.1
_NOISY_JOBS = 30
"""A tenant is noisy with more than this share of the backlog, and at least so many jobs."""
_MARGIN = 1.25
"""An estimate that comes so close to the deadline counts as missing it: paces vary."""
_JITTER = 0.1
"""Refused callers come back over this much more time, not all at once."""
_LONGEST_RETRY_S = 60.0
"""For backlogs, which shrink all the time; SDKs give up beyond two minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A checked job that wants to come in. `deadline_s`: seconds from now; None: no hurry."""

    job: str
    principal: Principal
    task: str
    priority: Priority
    has_conversation: bool = False
    deadline_s: float | None = None
    claim: KeyClaim | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A job that may be written, or that the log has already (`is_written`).

    `taken` is its place in the backlog; None where its key was used before.
    """

    ask: Ask
    reply: Reply
    headers: dict[str, str]
    taken: Taken | None = None

    @property
    def is_written(self) -> bool:
        """Whether an earlier request with the same key was accepted."""
        return self.reply.verdict is Verdict.REPLAYED

    @property
    def is_replay(self) -> bool:
        """Whether the key was used before."""
        return self.reply.verdict is not Verdict.ADMITTED

    @property
    def is_demoted(self) -> bool:
        """Whether the job has to go to the low lane."""
        return self.reply.is_demoted


class Admission:
    """Decides by limits, backlogs and estimates; `chance()` gives a number in [0, 1)."""

    def __init__(
        self,
        *,
        book: LimitBook,
        store: AdmissionStore,
        backlog: Backlog,
        crowd: Crowd,
        metrics: AdmissionMetrics,
        chance: Callable[[], float],
    ) -> None:
        self._book = book
        self._store = store
        self._backlog = backlog
        self._crowd = crowd
        self._metrics = metrics
        self._chance = chance

    async def admit(self, candidate: Candidate) -> Admitted:
        """Take the job's places, or find that its key has them.

        Raises:
            ApiError: rate_limit_exceeded, tenant_backlog_full, backlog_full,
                deadline_unreachable, idempotency_key_reused.
        """
        refusal = self._refusal(candidate, candidate.priority)
        if refusal is not None and candidate.claim is None:
            raise self._counted(refusal)
        ask = self._ask(candidate, is_open=refusal is None)
        with self._place(candidate, ask):
            reply = await self._store.admit(ask)
        headers = quota_headers(ask.quotas, reply.windows)
        if reply.verdict is Verdict.CLOSED:
            lane = Priority.LOW if reply.is_demoted else candidate.priority
            refusal = self._refusal(candidate, lane) or refusal or _wait_refusal(0.0, None)
        else:
            refusal = self._verdict_refusal(ask, reply)
        if refusal is not None:
            raise self._counted(refusal, headers)
        return Admitted(ask, reply, headers, self._taken(candidate, reply))

    def settle(self, admitted: Admitted) -> None:
        """The log has the job."""
        self._store.settle(admitted.ask, admitted.reply)

    async def refund(self, admitted: Admitted) -> None:
        """The job was surely not written."""
        if admitted.taken is not None:
            self._backlog.gave_back(admitted.taken)
        if not admitted.is_replay:
            await self._store.refund(admitted.ask, admitted.reply)

    def _place(self, candidate: Candidate, ask: Ask) -> AbstractContextManager[None]:
        """Holds the job's place in the backlog while the store decides, if it can get one."""
        if ask.is_open or ask.is_low_open:
            return self._backlog.holding(candidate.task, candidate.priority)
        return nullcontext()

    def _ask(self, candidate: Candidate, *, is_open: bool) -> Ask:
        principal = candidate.principal
        noisy_from = self._noisy_from(candidate)
        is_low_open = is_open
        if noisy_from is not None:
            is_low_open = self._refusal(candidate, Priority.LOW) is None
        return Ask(
            scope=TenantScope(principal.tenant),
            job=candidate.job,
            quotas=self._book.quotas(principal, candidate.task),
            claim=candidate.claim,
            backlog_limit=self._book.tenant_backlog(principal.tenant),
            is_open=is_open,
            is_low_open=is_low_open,
            noisy_from=noisy_from,
        )

    def _noisy_from(self, candidate: Candidate) -> int | None:
        """From how many unfinished jobs on the tenant crowds others out; None: it cannot."""
        if candidate.has_conversation or candidate.priority is Priority.LOW:
            return None
        others = self._crowd.others(candidate.principal.tenant)
        if others == 0:
            return None
        total = max(self._backlog.total, self._crowd.total)
        return max(_NOISY_JOBS, math.floor(total * _NOISY_SHARE) + 1)

    def _refusal(self, candidate: Candidate, lane: Priority) -> ApiError | None:
        """What of ours keeps a new job out of a lane."""
        if self._backlog.total >= self._book.backlog.total:
            message = "too many jobs wait at the moment; nothing was accepted, send it again later"
            wait_s = self._backlog.wait_s(candidate.task, lane) or 0.0
            return ApiError(
                "backlog_full", message, retry_after_s=min(_LONGEST_RETRY_S, wait_s * 0.05)
            )
        longest = self._book.backlog.wait
        if candidate.deadline_s is None and longest is None:
            return None
        wait_s = self._backlog.wait_s(candidate.task, lane) or 0.0
        if wait_s * _MARGIN > (candidate.deadline_s or math.inf):
            return _wait_refusal(wait_s, candidate.deadline_s)
        if longest is not None and wait_s > longest / timedelta(seconds=1):
            message = (
                f"a new job would wait about {wait_s:.0f} s, longer than this deployment allows; "
                "nothing was accepted, send it again later"
            )
            excess_s = wait_s - longest / timedelta(seconds=1)
            return ApiError("backlog_full", message, retry_after_s=min(_LONGEST_RETRY_S, excess_s))
        return None

    def _verdict_refusal(self, ask: Ask, reply: Reply) -> ApiError | None:
        if reply.verdict is Verdict.LIMITED:
            quota, window = ask.quotas[reply.blocked], reply.windows[reply.blocked]
            message = (
                f"limit {quota.name!r} is used up: {quota.limit} jobs in any "
                f"{_spoken(quota.window)}; send the request again after Retry-After"
            )
            return ApiError("rate_limit_exceeded", message, retry_after_s=window.reset_s)
        if reply.verdict is Verdict.BACKLOG:
            message = (
                f"this tenant has {reply.backlog} unfinished jobs, at most {ask.backlog_limit} "
                "are kept; wait for some to end, then send the request again"
            )
            return ApiError("tenant_backlog_full", message, retry_after_s=5.0)
        if reply.verdict is Verdict.REUSED:
            message = (
                "this Idempotency-Key was used with another body; "
                "use a fresh key for a new request, or repeat the first body"
            )
            return ApiError("idempotency_key_reused", message, param="Idempotency-Key")
        return None

    def _taken(self, candidate: Candidate, reply: Reply) -> Taken | None:
        """Count what came in, and take its place in the backlog."""
        name = (
            "replayed"
            if reply.verdict is not Verdict.ADMITTED
            else "demoted"
            if reply.is_demoted
            else "admitted"
        )
        self._metrics.verdicts.labels(name).inc()
        if reply.verdict is not Verdict.ADMITTED:
            return None
        lane = Priority.LOW if reply.is_demoted else candidate.priority
        return self._backlog.took(candidate.task, lane)

    def _counted(self, refusal: ApiError, headers: dict[str, str] | None = None) -> ApiError:
        self._metrics.verdicts.labels(refusal.kind.code).inc()
        retry_s = refusal.details.retry_after_s
        if retry_s is not None:
            retry_s = max(1.0, retry_s * (1 + _JITTER * self._chance()))
        return ApiError(
            refusal.kind.code,
            refusal.detail,
            param=refusal.details.param,
            retry_after_s=retry_s,
            headers=headers,
        )


def _wait_refusal(wait_s: float, deadline_s: float | None) -> ApiError:
    message = (
        f"a new job would wait about {wait_s:.0f} s for a worker, beyond its deadline; nothing was "
        "accepted, send it again later or with a later deadline"
    )
    excess_s = wait_s * _MARGIN - (deadline_s or 0.0)
    return ApiError("deadline_unreachable", message, retry_after_s=min(_LONGEST_RETRY_S, excess_s))


def _spoken(window: timedelta) -> str:
    seconds = window.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:g}s"
