"""`PENSTOCK_WEBHOOKS__*`: what gateway and notifier must agree on."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network

from pydantic import Field

from penstock_kit.durations import Seconds
from penstock_kit.settings_groups import Group
from penstock_kit.webhooks.addresses import AddressRules
from penstock_kit.webhooks.urls import UrlRules

__all__ = ["WebhookSettings"]


class WebhookSettings(Group):
    """Which addresses may be endpoints, and how many."""

    ports: list[int] = Field(
        default_factory=lambda: [443, 8443],
        min_length=1,
        description="Ports that endpoints may have, as a JSON list.",
    )
    refused_networks: list[IPv4Network | IPv6Network] = Field(
        default_factory=list,
        description="Public networks of your own that no delivery may reach, as a JSON list.",
    )
    allow_loopback: bool = Field(
        default=False,
        description="Development only: endpoints on this machine, at any port, http too.",
    )
    per_tenant: int = Field(default=50, gt=0, description="Endpoints that a tenant may have.")
    secret_overlap: Seconds = Field(
        default=timedelta(hours=24),
        description="How long the old secret signs beside the new one after a rotation.",
    )

    def address_rules(self) -> AddressRules:
        """The rules for addresses."""
        return AddressRules(refused=self.refused_networks, allow_loopback=self.allow_loopback)

    def url_rules(self) -> UrlRules:
        """The rules for URLs."""
        return UrlRules(
            self.address_rules(),
            ports=frozenset(self.ports),
            allow_loopback=self.allow_loopback,
        )
