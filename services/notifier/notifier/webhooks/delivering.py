"""One delivery: sign, send, and decide by the answer what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Final

import structlog
from penstock_kit.clock import Clock
from penstock_kit.errors import Busy, Rejected
from penstock_kit.lanes.outcomes import Delivery, Done, Outcome, Retry
from penstock_kit.webhooks.deliveries import WebhookDelivery, read_delivery
from penstock_kit.webhooks.endpoints import EndpointView, WebhookEndpoints
from penstock_kit.webhooks.urls import BadUrl, UrlRules

from notifier.webhooks.metrics import WebhookMetrics
from notifier.webhooks.ports import Answered, NotSent, Sender
from notifier.webhooks.schedule import Schedule
from notifier.webhooks.signing import Signer
from notifier.webhooks.standing import Standing

__all__ = ["Deliverer"]

log = structlog.get_logger(__name__)

_GONE: Final = 410
_UNSEEN: Final = b"unseen"
_UNSEEN_PAUSE: Final = timedelta(seconds=5)
"""A delivery may be here before its endpoint is: two topics, two readers."""


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why a try failed: as a metric's label, as a log's word, and what the receiver asked for."""

    outcome: str
    code: str
    asked_s: float | None = None


class Deliverer:
    """The lanes' handler over deliveries.

    A receiver that answers 2xx has it; 410 suspends the endpoint; anything else, other 4xx
    included, is tried again by the schedule.
    """

    def __init__(
        self,
        *,
        endpoints: WebhookEndpoints,
        is_current: Callable[[], bool],
        urls: UrlRules,
        signer: Signer,
        sender: Sender,
        schedule: Schedule,
        standing: Standing,
        clock: Clock,
        random: Callable[[], float],
        metrics: WebhookMetrics,
    ) -> None:
        self._endpoints = endpoints
        self._is_current = is_current
        self._urls = urls
        self._signer = signer
        self._sender = sender
        self._schedule = schedule
        self._standing = standing
        self._clock = clock
        self._random = random
        self._metrics = metrics

    async def __call__(self, delivery: Delivery) -> Outcome:
        """Try once.

        Raises:
            Rejected: the record is no delivery.
            Busy: endpoints cannot be read now.
        """
        asked = read_delivery(delivery.record)
        view = self._endpoints.get(asked.endpoint)
        if view is None:
            return self._without_endpoint(delivery, asked)
        if view.endpoint.tenant != asked.tenant:
            raise Rejected("the endpoint is another tenant's", code="bad_delivery")
        if not view.is_live:
            return self._dropped(asked, "disabled")
        return await self._try(delivery, asked, view)

    async def _try(self, delivery: Delivery, asked: WebhookDelivery, view: EndpointView) -> Outcome:
        try:
            answer = await self._send(asked, view)
        except BadUrl:
            problem = _Problem("refused_url", "refused_url")
            return await self._failed(delivery, asked, view, problem)
        except NotSent as error:
            return await self._failed(delivery, asked, view, _Problem(error.code, error.code))
        outcome = f"{answer.status // 100}xx"
        if outcome != "2xx" and answer.status != _GONE:
            asked_s = _seconds(answer.retry_after, self._clock.now())
            problem = _Problem(outcome, f"status_{answer.status}", asked_s)
            return await self._failed(delivery, asked, view, problem)
        self._metrics.tries.labels(outcome).inc()
        if answer.status == _GONE:
            await self._standing.gone(view)
            return self._dropped(asked, "gone")
        self._metrics.delivered.inc()
        await self._standing.succeeded(view)
        return Done()

    async def _send(self, asked: WebhookDelivery, view: EndpointView) -> Answered:
        target = self._urls.parse(view.endpoint.url)
        headers = self._signer.headers(view.endpoint, asked, now=self._clock.now())
        began = self._clock.monotonic()
        try:
            return await self._sender.send(target, asked.body, headers, tenant=asked.tenant)
        finally:
            self._metrics.seconds.observe(self._clock.monotonic() - began)

    async def _failed(
        self, delivery: Delivery, asked: WebhookDelivery, view: EndpointView, problem: _Problem
    ) -> Outcome:
        failures = delivery.failures + 1
        self._metrics.tries.labels(problem.outcome).inc()
        pause = self._schedule.pause(failures, chance=self._random(), asked_s=problem.asked_s)
        log.info(
            "webhook.try_failed",
            endpoint=asked.endpoint,
            event_id=asked.event_id,
            tries=failures,
            code=problem.code,
            again_in_s=None if pause is None else round(pause.total_seconds()),
        )
        if pause is None:
            await self._standing.gave_up(view)
            return self._dropped(asked, "exhausted")
        return Retry(
            after=pause, code=problem.code, detail="the receiver did not take the delivery"
        )

    def _without_endpoint(self, delivery: Delivery, asked: WebhookDelivery) -> Outcome:
        if not self._is_current():
            raise Busy("the endpoint topic cannot be read; deliveries wait", retry_after_s=1.0)
        if delivery.state == _UNSEEN:
            return self._dropped(asked, "removed")
        return Retry(
            after=_UNSEEN_PAUSE,
            code="endpoint_unseen",
            detail="the endpoint is not known yet, or has been removed",
            counts=False,
            state=_UNSEEN,
        )

    def _dropped(self, asked: WebhookDelivery, reason: str) -> Done:
        self._metrics.given_up.labels(reason).inc()
        log.warning(
            "webhook.delivery_dropped",
            endpoint=asked.endpoint,
            event_id=asked.event_id,
            reason=reason,
        )
        return Done()


def _seconds(retry_after: str | None, now: datetime) -> float | None:
    """What `Retry-After` asks for, as seconds or as a date; None if it makes no sense.

    Source: RFC 9110, section 10.2.3.
    """
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year of so many digits that no machine has room for it
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return (when - now).total_seconds()
