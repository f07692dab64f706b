"""All endpoints of a deployment in memory, with what the notifier found out about them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from penstock_contracts.webhooks import (
    WebhookEndpoint,
    WebhookRecordAdapter,
    WebhookSuccess,
    WebhookSuspension,
    matches,
    webhook_key,
)
from pydantic import ValidationError

from penstock_kit.tenancy import TenantScope

__all__ = ["EndpointView", "WebhookEndpoints"]

_CLOCKS_APART: Final = timedelta(seconds=60)
"""The worker that ends a job and the gateway that makes an endpoint have clocks of their own."""


@dataclass(frozen=True, slots=True)
class EndpointView:
    """An endpoint and how it fares.

    Attributes:
        suspension: why nothing is delivered, though its owner wants it; None: nothing is wrong.
    """

    endpoint: WebhookEndpoint
    suspension: WebhookSuspension | None
    last_success_at: datetime | None

    @property
    def is_live(self) -> bool:
        """Whether deliveries go there."""
        return self.endpoint.enabled and self.suspension is None


class WebhookEndpoints:
    """What the endpoint topic says, by id and by tenant."""

    def __init__(self) -> None:
        self._endpoints: dict[str, WebhookEndpoint] = {}
        self._of_tenant: dict[str, dict[str, WebhookEndpoint]] = {}
        self._suspensions: dict[str, WebhookSuspension] = {}
        self._successes: dict[str, WebhookSuccess] = {}
        self._forgotten: set[str] = set()

    def __len__(self) -> int:
        return len(self._endpoints)

    def get(self, endpoint_id: str) -> EndpointView | None:
        """The endpoint, of whatever tenant; for those who deliver."""
        endpoint = self._endpoints.get(endpoint_id)
        return None if endpoint is None else self._view(endpoint)

    def find(self, scope: TenantScope, endpoint_id: str) -> EndpointView | None:
        """The endpoint, if it is the tenant's."""
        view = self.get(endpoint_id)
        return view if view is not None and view.endpoint.tenant == scope.tenant else None

    def of_tenant(self, scope: TenantScope) -> list[EndpointView]:
        """Every endpoint of the tenant, the newest first."""
        mine = self._of_tenant.get(scope.tenant, {}).values()
        ordered = sorted(mine, key=lambda one: (one.created_at, one.id), reverse=True)
        return [self._view(endpoint) for endpoint in ordered]

    def everywhere(self) -> list[EndpointView]:
        """Every endpoint there is, the oldest first; for operators."""
        ordered = sorted(self._endpoints.values(), key=lambda one: (one.created_at, one.id))
        return [self._view(endpoint) for endpoint in ordered]

    def has_any(self, tenant: str) -> bool:
        """Whether the tenant has an endpoint at all; costs next to nothing."""
        return tenant in self._of_tenant

    def wanting(self, tenant: str, event: str, *, at: datetime) -> list[WebhookEndpoint]:
        """The tenant's live endpoints that want such an event and were there when it happened."""
        return [
            endpoint
            for endpoint in self._of_tenant.get(tenant, {}).values()
            if endpoint.created_at <= at + _CLOCKS_APART
            and any(matches(pattern, event) for pattern in endpoint.events)
            and self._view(endpoint).is_live
        ]

    def was_forgotten(self, endpoint_id: str) -> bool:
        """Whether there was such an endpoint, as far as the topic still tells of its end."""
        return endpoint_id in self._forgotten

    def apply(self, key: str, value: bytes | None) -> str | None:
        """Take one record in; why it was not, or None. The older word then stands."""
        if value is None:
            self._forget(key)
            if "/" not in key:
                self._forgotten.add(key)
            return None
        try:
            record = WebhookRecordAdapter.validate_json(value)
        except ValidationError as error:
            return f"{error.error_count()} problems"
        if webhook_key(record) != key:
            return "key and record contradict each other"
        match record:
            case WebhookEndpoint():
                self._put(record)
            case WebhookSuspension():
                self._suspensions[record.endpoint] = record
            case WebhookSuccess():
                self._successes[record.endpoint] = record
        return None

    def _put(self, endpoint: WebhookEndpoint) -> None:
        self._forget(endpoint.id)
        self._forgotten.discard(endpoint.id)
        self._endpoints[endpoint.id] = endpoint
        self._of_tenant.setdefault(endpoint.tenant, {})[endpoint.id] = endpoint

    def _forget(self, key: str) -> None:
        name, _, kind = key.partition("/")
        if kind == "suspension":
            self._suspensions.pop(name, None)
        elif kind == "success":
            self._successes.pop(name, None)
        elif (old := self._endpoints.pop(name, None)) is not None:
            mine = self._of_tenant[old.tenant]
            del mine[name]
            if not mine:
                del self._of_tenant[old.tenant]

    def _view(self, endpoint: WebhookEndpoint) -> EndpointView:
        suspension = self._suspensions.get(endpoint.id)
        if suspension is not None and suspension.enablement < endpoint.enablement:
            suspension = None  # its owner has enabled it since
        success = self._successes.get(endpoint.id)
        return EndpointView(endpoint, suspension, None if success is None else success.at)
