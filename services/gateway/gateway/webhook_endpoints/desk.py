"""What can be done with endpoints, by whom; every change is one record in the endpoint topic."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from penstock_contracts.credentials import Scope
from penstock_contracts.ids import JobIds
from penstock_contracts.webhooks import WebhookEndpoint
from penstock_kit.auth.principal import Principal
from penstock_kit.clock import Clock
from penstock_kit.webhooks.deliveries import Notice, delivery_record
from penstock_kit.webhooks.endpoints import EndpointView
from penstock_kit.webhooks.secrets import WebhookSecrets
from penstock_kit.webhooks.urls import BadUrl, UrlRules

from gateway.errors import ApiError
from gateway.webhook_endpoints.book import SOURCE, EndpointBook
from gateway.webhook_endpoints.models import (
    CreateWebhookEndpoint,
    RotateWebhookSecret,
    UpdateWebhookEndpoint,
)

__all__ = ["EndpointPage", "Shown", "WebhookDesk", "WebhookLimits"]

_ROUTE: Final = "/v1/webhook_endpoints"


@dataclass(frozen=True, slots=True)
class WebhookLimits:
    """How many endpoints a tenant may have, and how long things are remembered."""

    per_tenant: int
    secret_overlap: timedelta
    replay_for: timedelta


@dataclass(frozen=True, slots=True)
class Shown:
    """An endpoint with its secret; None where it may not be shown again."""

    view: EndpointView
    secret: str | None
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class EndpointPage:
    """Some of a tenant's endpoints, and whether more follow."""

    views: list[EndpointView]
    has_more: bool


class WebhookDesk:
    """Takes orders about endpoints of the caller's tenant.

    Endpoints are told of all jobs of a tenant, so that a user's own key may not touch them.
    """

    def __init__(
        self,
        *,
        book: EndpointBook,
        secrets: WebhookSecrets,
        urls: UrlRules,
        ids: JobIds,
        limits: WebhookLimits,
        clock: Clock,
        randomness: Callable[[int], bytes],
    ) -> None:
        self._book = book
        self._secrets = secrets
        self._urls = urls
        self._ids = ids
        self._limits = limits
        self._clock = clock
        self._randomness = randomness

    def page(self, principal: Principal, *, after: str | None, limit: int) -> EndpointPage:
        """Endpoints of the tenant, the newest first, from behind one of them on.

        Raises:
            ApiError: insufficient_scope; invalid_value, where `after` is none of them.
        """
        _authorize(principal)
        views = self._book.of_tenant(principal.scope)
        if after is not None:
            places = [place for place, view in enumerate(views) if view.endpoint.id == after]
            if not places:
                message = "Invalid 'after': there is no such endpoint; begin with the first page."
                raise ApiError("invalid_value", message, param="after")
            views = views[places[0] + 1 :]
        return EndpointPage(views[:limit], has_more=len(views) > limit)

    async def find(self, principal: Principal, endpoint_id: str) -> EndpointView:
        """One of them, though another gateway has made it a moment ago.

        Raises:
            ApiError: webhook_endpoint_not_found, insufficient_scope, broker_busy.
        """
        _authorize(principal)
        return await self._book.find(principal.scope, endpoint_id)

    async def create(
        self, principal: Principal, body: CreateWebhookEndpoint, *, key: str | None
    ) -> Shown:
        """Make one. The same key with the same body gives the same endpoint, with its secret.

        Raises:
            ApiError: insufficient_scope, invalid_value, too_many_webhook_endpoints,
                idempotency_key_reused, broker_busy.
        """
        _authorize(principal)
        url = self._checked(body.url)
        await self._book.read_to_the_end()
        endpoint_id = f"we_{self._name(principal, key)}"
        fingerprint = None if key is None else _hash(body.model_dump_json())
        known = self._book.known(principal.scope, endpoint_id)
        if known is not None:
            return self._replayed(known, fingerprint)
        if self._book.was_deleted(endpoint_id):
            # The same id would have the same secret, which its deletion has ended.
            raise _key_reused("an endpoint that was deleted")
        if len(self._book.of_tenant(principal.scope)) >= self._limits.per_tenant:
            message = f"the tenant has {self._limits.per_tenant} webhook endpoints; delete one"
            raise ApiError("too_many_webhook_endpoints", message)
        now = self._clock.now()
        made = WebhookEndpoint(
            id=endpoint_id,
            tenant=principal.tenant,
            url=url,
            events=list(dict.fromkeys(body.events)),
            description=body.description,
            enabled=body.enabled,
            enabled_at=now,
            created_at=now,
            fingerprint=fingerprint,
        )
        return Shown(await self._book.put(made), self._secrets.present(made))

    async def update(
        self, principal: Principal, endpoint_id: str, body: UpdateWebhookEndpoint
    ) -> EndpointView:
        """Change what the body names.

        Raises:
            ApiError: as `find` and `create`.
        """
        _authorize(principal)
        view = await self._book.newest(principal.scope, endpoint_id)
        given = body.model_dump(exclude_none=True)
        changes: dict[str, Any] = {**given}
        if body.url is not None:
            changes["url"] = self._checked(body.url)
        if body.events is not None:
            changes["events"] = list(dict.fromkeys(body.events))
        if body.enabled and not view.is_live:
            changes["enablement"] = view.endpoint.enablement + 1
            changes["enabled_at"] = self._clock.now()
        return await self._book.change(view, lambda endpoint: endpoint.model_copy(update=changes))

    async def rotate(
        self,
        principal: Principal,
        endpoint_id: str,
        body: RotateWebhookSecret,
        *,
        key: str | None,
    ) -> Shown:
        """Give it a new secret; the old one signs beside it for a while, or stops at once.

        The same key again shows the same new secret. Another rotation before the overlap is over
        makes the oldest secret void at once.

        Raises:
            ApiError: as `find`; idempotency_key_reused, broker_busy.
        """
        _authorize(principal)
        view = await self._book.newest(principal.scope, endpoint_id)
        endpoint, now = view.endpoint, self._clock.now()
        hashed = None if key is None else _hash(key)
        keeps_old = body.keep_old_secret_active_for_24_hours
        if hashed is not None and hashed == endpoint.rotation_key:
            if keeps_old != (endpoint.overlap_until is not None):
                raise _key_reused("a rotation that did otherwise with the old secret")
            is_fresh = now - (endpoint.rotated_at or now) <= self._limits.replay_for
            secret = self._secrets.present(endpoint) if is_fresh else None
            return Shown(view, secret, is_replay=True)
        changes = {
            "generation": endpoint.generation + 1,
            "rotated_at": now,
            "overlap_until": now + self._limits.secret_overlap if keeps_old else None,
            "rotation_key": hashed,
        }

        def rotated(current: WebhookEndpoint) -> WebhookEndpoint:
            is_done = current.generation > endpoint.generation
            return current if is_done else current.model_copy(update=changes)

        view = await self._book.change(view, rotated)
        return Shown(view, self._secrets.present(view.endpoint))

    async def delete(self, principal: Principal, endpoint_id: str) -> None:
        """Forget it; what was still to be delivered to it is dropped.

        Raises:
            ApiError: as `find`; broker_busy.
        """
        _authorize(principal)
        await self._book.newest(principal.scope, endpoint_id)
        await self._book.forget(endpoint_id)

    async def test(self, principal: Principal, endpoint_id: str, *, event: str) -> str:
        """Have one delivery made, whatever the endpoint's filter; the event's id.

        Raises:
            ApiError: as `find`; webhook_endpoint_disabled, broker_busy.
        """
        view = await self.find(principal, endpoint_id)
        if not view.is_live:
            message = "nothing is delivered to this endpoint; PATCH it with enabled true first"
            raise ApiError("webhook_endpoint_disabled", message)
        subject = f"test_{self._randomness(16).hex()}"
        notice = Notice(principal.tenant, event, subject, self._clock.now())
        await self._book.send(delivery_record(notice, endpoint_id, source=SOURCE))
        return notice.id

    def _replayed(self, known: EndpointView, fingerprint: str | None) -> Shown:
        endpoint = known.endpoint
        if fingerprint != endpoint.fingerprint:
            raise _key_reused("an endpoint of another body")
        age = self._clock.now() - endpoint.created_at
        is_fresh = endpoint.generation == 1 and age <= self._limits.replay_for
        secret = self._secrets.present(endpoint) if is_fresh else None
        return Shown(known, secret, is_replay=True)

    def _checked(self, url: str) -> str:
        try:
            return self._urls.parse(url).url
        except BadUrl as error:
            raise ApiError("invalid_value", f"Invalid 'url': {error}.", param="url") from None

    def _name(self, principal: Principal, key: str | None) -> str:
        if key is None:
            return self._randomness(16).hex()
        return self._ids.uuid_for_key(tenant=principal.tenant, route=_ROUTE, key=key).hex


def _authorize(principal: Principal) -> None:
    if principal.level is Scope.USER:
        message = "webhook endpoints belong to the whole tenant; use a key of scope tenant"
        raise ApiError("insufficient_scope", message)


def _key_reused(made: str) -> ApiError:
    message = f"the Idempotency-Key made {made}; use a fresh key"
    return ApiError("idempotency_key_reused", message, param="Idempotency-Key")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
