"""Which URLs may be endpoints, judged by their text alone; names are judged when they resolve.

Stricter than any client's parser, so that no two parsers can see different hosts in what passes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from penstock_kit.errors import PenstockError
from penstock_kit.webhooks.addresses import AddressRules, IPAddress, is_loopback, parse_address

__all__ = ["BadUrl", "Target", "UrlRules"]

_MAX_CHARS: Final = 2048
_MAX_HOST_CHARS: Final = 253
_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,254})"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>(?:/[!$&'()*+,;=:@/A-Za-z0-9._~%-]*)?(?:\?[!$&'()*+,;=:@/?A-Za-z0-9._~%-]*)?)"
)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_NUMBER: Final = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")
_INTERNAL: Final = (
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "home.arpa",
    "corp",
    "svc",
    "onion",
    "test",
    "invalid",
    "arpa",
)
_PORTS: Final = {"https": 443, "http": 80}
_MOST_PORT: Final = 65535


class BadUrl(PenstockError):
    """Nothing may be sent to this URL; the message tells what to change and quotes no secret."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart, once and for all.

    Attributes:
        url: as it is requested: scheme and host in lower case, the default port left out.
        host: name or address, without brackets.
        address: None where the host is a name.
    """

    url: str
    scheme: str
    host: str
    port: int
    address: IPAddress | None


class UrlRules:
    """What is allowed: https on certain ports to public addresses; loopback by a setting."""

    def __init__(
        self, addresses: AddressRules, *, ports: frozenset[int], allow_loopback: bool = False
    ) -> None:
        self._addresses = addresses
        self._ports = ports
        self._allow_loopback = allow_loopback

    def parse(self, url: str) -> Target:
        """Take the URL apart.

        Raises:
            BadUrl: it is no URL, or one that nothing may be sent to.
        """
        if len(url) > _MAX_CHARS:
            raise BadUrl(f"the URL is longer than {_MAX_CHARS} characters; use a shorter one")
        found = _URL.fullmatch(url)
        if found is None or _BAD_ESCAPE.search(found["rest"]) is not None:
            raise BadUrl(
                "the URL must be https://host[:port]/path?query in plain ASCII, without user,"
                " password and fragment; write other characters as %XX and names as punycode"
            )
        host = found["host"].lower().strip("[]")
        address = self._address(found["host"], host)
        port = int(found["port"]) if found["port"] is not None else _PORTS[found["scheme"]]
        is_own = self._is_own(host, address)
        if not is_own:
            self._check(found["scheme"], port=port, host=host, address=address)
        if not 0 < port <= _MOST_PORT:
            raise BadUrl(f"port {port} does not exist; leave it out or correct it")
        place = f"[{host}]" if isinstance(address, IPv6Address) else host
        if port != _PORTS[found["scheme"]]:
            place = f"{place}:{port}"
        return Target(
            f"{found['scheme']}://{place}{_path(found['rest'])}",
            found["scheme"],
            host,
            port,
            address,
        )

    def _address(self, written: str, host: str) -> IPAddress | None:
        address = parse_address(host)
        if written.startswith("["):
            if not isinstance(address, IPv6Address):
                raise BadUrl("what stands in [] is no IPv6 address; correct it")
            return address
        if address is None:
            _check_name(host)
        return address

    def _is_own(self, host: str, address: IPAddress | None) -> bool:
        """Whether development allows it."""
        if not self._allow_loopback:
            return False
        return host == "localhost" if address is None else is_loopback(address)

    def _check(self, scheme: str, *, port: int, host: str, address: IPAddress | None) -> None:
        if scheme != "https":
            raise BadUrl("the URL must begin with https://; deliveries are not sent in clear")
        if port not in self._ports:
            allowed = ", ".join(str(one) for one in sorted(self._ports))
            raise BadUrl(f"port {port} is not allowed here; use one of {allowed}")
        if address is None:
            if "." not in host or host.endswith(tuple(f".{name}" for name in _INTERNAL)):
                raise BadUrl("the host is a name inside a network; use a public one")
            return
        refusal = self._addresses.refusal(address)
        if refusal is not None:
            raise BadUrl(f"the host is no public address ({refusal}); use a public one")


def _check_name(host: str) -> None:
    labels = host.split(".")
    if len(host) > _MAX_HOST_CHARS or any(_LABEL.fullmatch(label) is None for label in labels):
        raise BadUrl("the host is no DNS name; check dots, hyphens and its length")
    if _NUMBER.fullmatch(labels[-1]) is not None:
        raise BadUrl("the host looks like an address in an unusual spelling; write a name")


def _path(rest: str) -> str:
    return rest if rest.startswith("/") else f"/{rest}"
