"""Which IP addresses a request that a tenant asked for may go to: public ones and no others.

The lists are ours, not Python's `is_global`: that one differs between versions, and it calls
addresses global that carry a private one inside (6to4, NAT64).
Source: the IANA special-purpose address registries for IPv4 and IPv6, October 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

__all__ = ["AddressRules", "IPAddress", "IPNetwork", "parse_address"]

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_REFUSED: Final = tuple(
    (ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by carriers"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "platform of a cloud"),
        ("169.254.0.0/16", "link-local, metadata of clouds"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relays"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarks"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, broadcast"),
        # Of IPv6 only 2000::/3 is global unicast; everything outside of it is refused below.
        ("2001::/23", "protocol assignments, Teredo"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4: carries an IPv4 address"),
        ("3fff::/20", "documentation"),
    )
)
_LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_GLOBAL_UNICAST: Final = ip_network("2000::/3")


class AddressRules:
    """Says of an address why nothing may be sent to it.

    Args:
        refused: networks of the deployment's own that are public but not for tenants.
        allow_loopback: for development only.
    """

    def __init__(self, *, refused: Sequence[IPNetwork] = (), allow_loopback: bool = False) -> None:
        own = tuple((network, "refused by this deployment") for network in refused)
        self._refused = _REFUSED + own
        self._allow_loopback = allow_loopback

    def refusal(self, address: IPAddress) -> str | None:
        """Why the address is refused; None if requests may go there.

        An IPv4 address inside an IPv6 one (`::ffff:10.0.0.1`) is refused whatever it is: resolvers
        give IPv4 addresses as such, so that nobody honest needs one.
        """
        if self._allow_loopback and is_loopback(address):
            return None
        for network, why in self._refused:
            if address.version == network.version and address in network:
                return why
        if isinstance(address, IPv6Address):
            if address.scope_id is not None:
                return "an address of one link"
            if address not in _GLOBAL_UNICAST:
                return "not global unicast"
        return None


def is_loopback(address: IPAddress) -> bool:
    """Whether it is this machine, in the plain spellings alone."""
    return any(address.version == own.version and address in own for own in _LOOPBACK)


def parse_address(text: str) -> IPAddress | None:
    """The address that a host is; None if it is a name.

    Only the canonical spelling counts: `127.1`, `0x7f.0.0.1` and `2130706433` are no addresses
    here, nor can they be names.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address
