"""Connections to public addresses only, whatever a name resolves to and whenever.

A name is resolved once per connection. Every address of the answer is judged, and judged again by
the socket that is about to connect to it: between the last check and the connection there is no
further look-up that could answer differently.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult
from penstock_kit.webhooks.addresses import AddressRules

from notifier.webhooks.lookups import Lookup, Lookups

__all__ = [
    "GuardedResolver",
    "RefusedAddress",
    "guarded_socket",
    "on_behalf_of",
    "system_lookup",
]

_TENANT: Final[ContextVar[str]] = ContextVar("webhook_tenant")
"""Whose delivery a connection is made for: between our request and our resolver stands aiohttp,
which hands on the name alone."""


class RefusedAddress(OSError):
    """A name leads to an address that deliveries may not reach; an `OSError` as clients expect."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EACCES, f"the address is refused: {why}")


class GuardedResolver(AbstractResolver):
    """Resolves for the tenant of `on_behalf_of` and judges the answer as a whole.

    One address that is refused spoils all: who mixes public and private ones has no honest reason.
    """

    def __init__(self, rules: AddressRules, lookup: Lookup) -> None:
        self._rules = rules
        self._lookups = Lookups(lookup)

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            RefusedAddress: one of them is not for tenants.
            OSError: the name does not resolve.
        """
        del family
        texts = await self._lookups.addresses(host, tenant=_TENANT.get())
        addresses = [ip_address(text) for text in dict.fromkeys(texts)]
        if not addresses:
            raise OSError(errno.ENOENT, "the name has no address")
        for address in addresses:
            _check(self._rules, address)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Let the threads end; look-ups under way are not waited for."""
        self._lookups.close()


@contextmanager
def on_behalf_of(tenant: str) -> Iterator[None]:
    """Names that are looked up inside count for the tenant."""
    token = _TENANT.set(tenant)
    try:
        yield
    finally:
        _TENANT.reset(token)


def guarded_socket(rules: AddressRules) -> Callable[[Any], socket.socket]:
    """What makes the sockets of a client: the last word before a connection."""

    def make(info: Any) -> socket.socket:
        family, kind, proto, _, place = info
        _check(rules, ip_address(place[0]))
        return socket.socket(family, kind, proto)

    return make


def system_lookup(host: str) -> list[str]:
    """By the system's resolver."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in found]


def _check(rules: AddressRules, address: Any) -> None:
    refusal = rules.refusal(address)
    if refusal is not None:
        raise RefusedAddress(refusal)
