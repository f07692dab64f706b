"""Redis if it answers, else this process alone, with its share of every limit."""

from __future__ import annotations

from dataclasses import replace

import structlog
from penstock_kit.clock import Clock
from penstock_kit.jobs.view import TableAway

from gateway.admission.local_store import LocalAdmissions
from gateway.admission.metrics import AdmissionMetrics
from gateway.admission.store import AdmissionStore, Ask, Reply

__all__ = ["DegradingAdmissions"]

log = structlog.get_logger(__name__)

_PAUSE_S = 1.0
"""After a failure one request per second tries Redis again; the others do not wait for it."""


class DegradingAdmissions:
    """`AdmissionStore` that never fails.

    While Redis is away a limit of n is n / `gateways` here, at least 1: all gateways together let
    through about what the limit says, whoever the load balancer prefers gets less.
    """

    def __init__(
        self,
        shared: AdmissionStore,
        local: LocalAdmissions,
        *,
        gateways: int,
        clock: Clock,
        metrics: AdmissionMetrics,
    ) -> None:
        self._shared = shared
        self._local = local
        self._gateways = gateways
        self._clock = clock
        self._metrics = metrics
        self._retry_at: float | None = None

    def note(self) -> str | None:
        """What `/readyz` tells beside its verdict; None while Redis answers."""
        if self._retry_at is None:
            return None
        return (
            "Redis is away: jobs are accepted by limits of this process alone, each "
            f"1/{self._gateways} of what is configured; start Redis, or check PENSTOCK_REDIS__URL"
        )

    async def admit(self, ask: Ask) -> Reply:
        """See the port."""
        if self._may_try():
            try:
                reply = await self._shared.admit(ask)
            except TableAway as error:
                self._went_away(error)
            else:
                self._came_back()
                return reply
        self._metrics.local.inc()
        return await self._local.admit(self._part(ask))

    def settle(self, ask: Ask, reply: Reply) -> None:
        """See the port."""
        if reply.is_local:
            self._local.settle(self._part(ask), reply)
        else:
            self._shared.settle(ask, reply)

    async def refund(self, ask: Ask, reply: Reply) -> None:
        """See the port."""
        if reply.is_local:
            await self._local.refund(self._part(ask), reply)
        else:
            await self._shared.refund(ask, reply)

    def _part(self, ask: Ask) -> Ask:
        if self._gateways == 1 or not ask.quotas:
            return ask
        quotas = tuple(
            replace(quota, limit=max(1, quota.limit // self._gateways)) for quota in ask.quotas
        )
        return replace(ask, quotas=quotas)

    def _may_try(self) -> bool:
        if self._retry_at is None:
            return True
        now = self._clock.monotonic()
        if now < self._retry_at:
            return False
        self._retry_at = now + _PAUSE_S  # the others go on alone while this one tries
        return True

    def _went_away(self, error: TableAway) -> None:
        if self._retry_at is None:
            log.warning("admission.degraded", gateways=self._gateways, reason=str(error))
            self._metrics.degraded.set(1)
        self._retry_at = self._clock.monotonic() + _PAUSE_S

    def _came_back(self) -> None:
        if self._retry_at is not None:
            log.info("admission.restored")
            self._metrics.degraded.set(0)
        self._retry_at = None
