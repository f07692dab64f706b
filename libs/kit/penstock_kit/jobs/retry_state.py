"""What a job's next delivery has to know of the ones before: small JSON beside the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from penstock_contracts.retries import MAX_STATE_BYTES

__all__ = ["RetryState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryState:
    """Travels in `Retry.state`.

    Attributes:
        attempt: number of the last attempt made; 0 before the first. The ledger needs it.
        surprises: failures so far that nobody foresaw.
        has_shown: whether any attempt has sent output: the next one begins with `reset`.
        plan: the worker's own: tries, place in the chain of models, usage so far.
    """

    attempt: int = 0
    surprises: int = 0
    has_shown: bool = False
    plan: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, raw: bytes) -> RetryState:
        """What an earlier delivery left; what cannot be read counts as nothing."""
        try:
            told = orjson.loads(raw)
            attempt, surprises, plan = told["attempt"], told["surprises"], told["plan"]
            has_shown = bool(told.get("has_shown"))
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return cls()
        if not (isinstance(attempt, int) and isinstance(surprises, int) and isinstance(plan, dict)):
            return cls()
        return cls(attempt=attempt, surprises=surprises, has_shown=has_shown, plan=plan)

    def write(self) -> bytes:
        """For `Retry.state`; a plan that is too large is left out: the job then starts anew."""
        told = {
            "attempt": self.attempt,
            "surprises": self.surprises,
            "has_shown": self.has_shown,
        }
        whole = orjson.dumps({**told, "plan": dict(self.plan)})
        return whole if len(whole) <= MAX_STATE_BYTES else orjson.dumps({**told, "plan": {}})
