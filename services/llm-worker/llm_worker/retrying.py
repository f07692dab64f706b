"""After a failed attempt: again, another model, or the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from penstock_contracts.dead import DeadReason
from penstock_contracts.parts import JobError
from penstock_kit.lanes.outcomes import Dead
from penstock_kit.tasks import RetryPolicy

from llm_worker.errors import BadAnswer, Permanent, ProviderFault

__all__ = ["AttemptPlan", "Next", "dead_of", "job_error"]

_FOR_THE_OPERATOR: Final = frozenset(
    {
        "provider_auth_failed",
        "provider_model_not_found",
        "provider_quota_exceeded",
        "provider_redirected",
        "provider_total_timeout",
    }
)
"""Permanent faults that no client can mend; once they are, the job is worth another run."""


@dataclass(frozen=True, slots=True)
class Next:
    """Another attempt, after a pause."""

    delay_s: float
    reason: Literal["retry", "fallback", "repair"]


class AttemptPlan:
    """Where a job stands in its chain of models and its attempts, over all its deliveries.

    A passing fault is tried again on the same model, `policy.attempts` times in all; a permanent
    one, or the last passing one, moves on to the next model. A bad answer is repaired once per job.
    `at_most_once`: only a call that the provider refused is repeated, and none is repaired.
    """

    def __init__(
        self,
        chain: tuple[str, ...],
        policy: RetryPolicy,
        *,
        at_most_once: bool,
        random: Callable[[], float],
        before: Mapping[str, Any] | None = None,
    ) -> None:
        """`before`: the `state` of an earlier delivery."""
        before = before or {}
        self._chain = chain
        self._policy = policy
        self._at_most_once = at_most_once
        self._random = random
        # The chain may be shorter now: the configuration may have changed in between.
        self._place = min(int(before.get("place", 0)), len(chain) - 1)
        self._tries = int(before.get("tries", 0))
        self._has_repaired = bool(before.get("repaired", False))

    @property
    def model(self) -> str:
        """The alias of the model that is to be called now."""
        return self._chain[self._place]

    @property
    def state(self) -> dict[str, Any]:
        """For the plan of the next delivery, as JSON."""
        return {"place": self._place, "tries": self._tries, "repaired": self._has_repaired}

    def after(self, fault: ProviderFault | BadAnswer) -> Next | None:
        """What follows a failed attempt; None: nothing, the job has failed."""
        if isinstance(fault, BadAnswer):
            if self._has_repaired or self._at_most_once:
                return None
            self._has_repaired = True
            return Next(0.0, "repair")
        if self._at_most_once and not fault.was_refused:
            return None
        self._tries += 1
        if not isinstance(fault, Permanent) and self._tries < self._policy.attempts:
            pause = self._policy.backoff.pause(
                self._tries, random=self._random, asked_s=fault.retry_after_s
            )
            return Next(pause.total_seconds(), "retry")
        if self._place + 1 < len(self._chain):
            self._place += 1
            self._tries = 0
            return Next(0.0, "fallback")
        return None


def dead_of(fault: ProviderFault | BadAnswer, *, attempts: int) -> Dead | None:
    """The dead letter of a job that this fault has ended; None if it is the client's to mend."""
    if isinstance(fault, BadAnswer):
        return None
    if isinstance(fault, Permanent) and fault.code not in _FOR_THE_OPERATOR:
        return None
    return Dead(DeadReason.FAILURE, fault.code, str(fault), attempts, fault.answer)


def job_error(fault: ProviderFault | BadAnswer) -> JobError:
    """A fault in the words of the API."""
    if isinstance(fault, BadAnswer):
        return JobError(
            type="invalid_answer_error",
            code=fault.code,
            message=f"{fault}; ask for a simpler shape, or choose another model",
            retryable=True,
        )
    return JobError(
        type=fault.kind,
        code=fault.code,
        message=str(fault),
        param=fault.param,
        retryable=not isinstance(fault, Permanent),
        provider_status=fault.status,
    )
