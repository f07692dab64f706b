"""Calls jobs back."""

from __future__ import annotations

from penstock_kit.clock import Clock
from penstock_kit.control import cancel_record
from penstock_kit.kafka.ports import Producer
from penstock_kit.tenancy import TenantScope

__all__ = ["Canceller"]


class Canceller:
    """Writes cancels to `ai.control.v1`; every worker follows that topic."""

    def __init__(self, producer: Producer, clock: Clock) -> None:
        self._producer = producer
        self._clock = clock

    async def cancel(self, scope: TenantScope, job: str) -> None:
        """Return when the cancel is in the log. The caller has checked that the job is its own.

        Raises:
            PenstockError: it may not be in the log; writing it again is harmless.
        """
        await self._producer.send(
            cancel_record(
                job,
                tenant=scope.tenant,
                by=scope.user,
                now=self._clock.now(),
                source="/penstock/notifier",
            )
        )
