"""What the notifier finds out about endpoints, told to everybody by the endpoint topic."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog
from penstock_contracts.codec import encode_model
from penstock_contracts.webhooks import (
    SuspensionReason,
    WebhookSuccess,
    WebhookSuspension,
    webhook_key,
)
from penstock_kit.clock import Clock
from penstock_kit.kafka.ports import Producer
from penstock_kit.lanes.patience import send_patiently
from penstock_kit.webhooks.endpoints import EndpointView, WebhookEndpoints
from penstock_kit.webhooks.table import endpoint_record

from notifier.webhooks.metrics import WebhookMetrics
from notifier.webhooks.telling import SOURCE

__all__ = ["Standing"]

log = structlog.get_logger(__name__)

_TELL_EVERY: Final = timedelta(hours=1)
"""Days are counted with these records: an hour is fine enough, and costs nothing."""


class Standing:
    """Notes successes and suspends endpoints."""

    def __init__(
        self,
        *,
        endpoints: WebhookEndpoints,
        producer: Producer,
        clock: Clock,
        new_id: Callable[[], str],
        disable_after: timedelta,
        metrics: WebhookMetrics,
    ) -> None:
        self._endpoints = endpoints
        self._producer = producer
        self._clock = clock
        self._new_id = new_id
        self._disable_after = disable_after
        self._metrics = metrics

    async def succeeded(self, view: EndpointView) -> None:
        """The endpoint took a delivery; written once an hour."""
        now = self._clock.now()
        if view.last_success_at is not None and now - view.last_success_at < _TELL_EVERY:
            return
        endpoint = view.endpoint
        await self._write(WebhookSuccess(endpoint=endpoint.id, tenant=endpoint.tenant, at=now))

    async def gone(self, view: EndpointView) -> None:
        """The endpoint answered 410."""
        await self._suspend(view, SuspensionReason.GONE)

    async def gave_up(self, view: EndpointView) -> None:
        """A delivery failed over its whole schedule; too long without a success suspends."""
        endpoint = view.endpoint
        since = max(endpoint.enabled_at, view.last_success_at or endpoint.enabled_at)
        if self._clock.now() - since >= self._disable_after:
            await self._suspend(view, SuspensionReason.FAILING)

    async def _suspend(self, view: EndpointView, reason: SuspensionReason) -> None:
        endpoint = view.endpoint
        self._metrics.suspended.labels(reason.value).inc()
        log.warning(
            "webhook.endpoint_suspended",
            endpoint=endpoint.id,
            tenant=endpoint.tenant,
            reason=reason.value,
            last_success_at=view.last_success_at and view.last_success_at.isoformat(),
        )
        await self._write(
            WebhookSuspension(
                endpoint=endpoint.id,
                tenant=endpoint.tenant,
                enablement=endpoint.enablement,
                reason=reason,
                at=self._clock.now(),
            )
        )

    async def _write(self, record: WebhookSuccess | WebhookSuspension) -> None:
        """Known here at once, so that what follows acts on it; elsewhere within moments."""
        self._endpoints.apply(webhook_key(record), encode_model(record))
        await send_patiently(
            self._producer,
            endpoint_record(record, source=SOURCE, now=self._clock.now(), event_id=self._new_id()),
        )
