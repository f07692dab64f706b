"""Endpoints as the log has them, which other gateways and the command line write too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import uuid4

from penstock_contracts.codec import encode_model
from penstock_contracts.webhooks import WebhookEndpoint
from penstock_kit.clock import Clock
from penstock_kit.kafka.ports import (
    BrokerFault,
    DeliveryUnknown,
    OutRecord,
    Producer,
    ProducerFull,
)
from penstock_kit.tenancy import TenantScope
from penstock_kit.webhooks.endpoints import EndpointView, WebhookEndpoints
from penstock_kit.webhooks.table import endpoint_record, endpoint_tombstones

from gateway.errors import ApiError
from gateway.webhook_endpoints.ports import EndpointLog

__all__ = ["SOURCE", "Change", "EndpointBook"]

SOURCE: Final = "/penstock/gateway"
_TRIES: Final = 4
"""Of one change, where others change the same endpoint at the same moment."""

Change = Callable[[WebhookEndpoint], WebhookEndpoint]
"""Makes a change; where it is made already, the endpoint comes back as it is."""


class EndpointBook:
    """Reads endpoints from memory, and changes them in the log.

    A record holds the whole of an endpoint. So a change begins with the newest record, and ends
    when the newest record has it: what a writer who had not read it yet has taken back is made
    again.
    """

    def __init__(
        self, *, endpoints: WebhookEndpoints, log: EndpointLog, producer: Producer, clock: Clock
    ) -> None:
        self._endpoints = endpoints
        self._log = log
        self._producer = producer
        self._clock = clock

    def of_tenant(self, scope: TenantScope) -> list[EndpointView]:
        """Every endpoint of the tenant that is known here, the newest first."""
        return self._endpoints.of_tenant(scope)

    def known(self, scope: TenantScope, endpoint_id: str) -> EndpointView | None:
        """The endpoint, if it is known here."""
        return self._endpoints.find(scope, endpoint_id)

    def was_deleted(self, endpoint_id: str) -> bool:
        """Whether there was such an endpoint, as far as the log still tells."""
        return self._endpoints.was_forgotten(endpoint_id)

    async def find(self, scope: TenantScope, endpoint_id: str) -> EndpointView:
        """The endpoint, though another gateway has made it a moment ago.

        Raises:
            ApiError: webhook_endpoint_not_found, broker_busy.
        """
        view = self.known(scope, endpoint_id)
        return view if view is not None else await self.newest(scope, endpoint_id)

    async def newest(self, scope: TenantScope, endpoint_id: str) -> EndpointView:
        """The endpoint as the log has it now.

        Raises:
            ApiError: webhook_endpoint_not_found, broker_busy.
        """
        await self.read_to_the_end()
        view = self.known(scope, endpoint_id)
        if view is None:
            raise _not_found()
        return view

    async def read_to_the_end(self) -> None:
        """Return when everything that the log has is known.

        Raises:
            ApiError: broker_busy.
        """
        if not await self._log.catch_up():
            message = "the log cannot be read at the moment; nothing was changed, send it again"
            raise ApiError("broker_busy", message, retry_after_s=1.0)

    async def put(self, endpoint: WebhookEndpoint) -> EndpointView:
        """Write the whole of an endpoint.

        Raises:
            ApiError: broker_busy.
        """
        now = self._clock.now()
        await self._write(endpoint_record(endpoint, source=SOURCE, now=now, event_id=uuid4().hex))
        view = self._endpoints.get(endpoint.id)
        assert view is not None, "it was applied a moment ago"
        return view

    async def change(self, view: EndpointView, change: Change) -> EndpointView:
        """Write until the newest record has the change; the endpoint as it is then.

        Raises:
            ApiError: broker_busy; webhook_endpoint_not_found, where it was deleted meanwhile.
        """
        for _ in range(_TRIES):
            if _has(view, change):
                return view
            view = await self.put(change(view.endpoint))
            if not await self._log.catch_up():
                return view  # the log has it; whether somebody was faster cannot be told now
            newest = self._endpoints.get(view.endpoint.id)
            if newest is None:
                raise _not_found()
            view = newest
        if _has(view, change):
            return view
        message = (
            "somebody else changes the endpoint at the same moment; look at it, then try again"
        )
        raise ApiError("broker_busy", message, retry_after_s=1.0)

    async def forget(self, endpoint_id: str) -> None:
        """Delete an endpoint and all that is known of it.

        Raises:
            ApiError: broker_busy.
        """
        for record in endpoint_tombstones(endpoint_id):
            await self._write(record)

    async def send(self, record: OutRecord) -> None:
        """Hand a record to the log.

        Raises:
            ApiError: broker_busy.
        """
        try:
            await self._producer.send(record)
        except (ProducerFull, DeliveryUnknown) as error:
            raise _unconfirmed(error.retry_after_s or 1.0) from error
        except BrokerFault as error:
            raise _unconfirmed(1.0) from error

    async def _write(self, record: OutRecord) -> None:
        """Known here as soon as the log has it, so that the next request sees it."""
        await self.send(record)
        self._endpoints.apply((record.key or b"").decode(), record.value)


def _has(view: EndpointView, change: Change) -> bool:
    """Whether the change is made, compared as it is written: instants lose their microseconds."""
    return encode_model(change(view.endpoint)) == encode_model(view.endpoint)


def _not_found() -> ApiError:
    return ApiError(
        "webhook_endpoint_not_found",
        "there is no webhook endpoint of that id; GET /v1/webhook_endpoints lists all",
        param="endpoint",
    )


def _unconfirmed(retry_after_s: float) -> ApiError:
    message = "the log has not confirmed it in time; send it again"
    return ApiError("broker_busy", message, retry_after_s=retry_after_s)
