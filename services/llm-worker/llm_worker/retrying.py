"""After a failed attempt: again, another model, or the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from penstock_contracts.parts import JobError
from penstock_kit.tasks import RetryPolicy

from llm_worker.errors import BadAnswer, Permanent, ProviderFault

__all__ = ["AttemptPlan", "Next", "job_error"]


@dataclass(frozen=True, slots=True)
class Next:
    """Another attempt, after a pause."""

    delay_s: float
    reason: Literal["retry", "fallback", "repair"]


class AttemptPlan:
    """Where a job stands in its chain of models and its attempts.

    A passing fault is tried again on the same model, `policy.attempts` times in all; a permanent
    one, or the last passing one, moves on to the next model. A bad answer is repaired once per job.
    `at_most_once`: a call that may have been charged is never repeated, and so never repaired.
    """

    def __init__(
        self,
        chain: tuple[str, ...],
        policy: RetryPolicy,
        *,
        at_most_once: bool,
        random: Callable[[], float],
    ) -> None:
        self._chain = chain
        self._policy = policy
        self._at_most_once = at_most_once
        self._random = random
        self._place = 0
        self._tries = 0
        self._has_repaired = False

    @property
    def model(self) -> str:
        """The alias of the model that is to be called now."""
        return self._chain[self._place]

    def after(self, fault: ProviderFault | BadAnswer) -> Next | None:
        """What follows a failed attempt; None: nothing, the job has failed."""
        if isinstance(fault, BadAnswer):
            if self._has_repaired or self._at_most_once:
                return None
            self._has_repaired = True
            return Next(0.0, "repair")
        if self._at_most_once and fault.was_charged:
            return None
        self._tries += 1
        if not isinstance(fault, Permanent) and self._tries < self._policy.attempts:
            return Next(self._delay_s(fault.retry_after_s), "retry")
        if self._place + 1 < len(self._chain):
            self._place += 1
            self._tries = 0
            return Next(0.0, "fallback")
        return None

    def _delay_s(self, retry_after_s: float | None) -> float:
        """Exponential with the upper half left to chance; at least what the provider asked for.

        The policy's cap is above both: a provider cannot park a key for hours.
        """
        policy = self._policy
        cap = policy.cap.total_seconds()
        grown = min(policy.base.total_seconds() * policy.factor ** (self._tries - 1), cap)
        delay = grown * (0.5 + self._random() / 2)
        return min(max(delay, retry_after_s or 0.0), cap)


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
