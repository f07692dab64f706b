"""Sends deliveries over HTTP/1.1 with aiohttp."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

import aiohttp
from penstock_kit.webhooks.addresses import AddressRules
from penstock_kit.webhooks.urls import Target
from yarl import URL

from notifier.webhooks.guard import (
    GuardedResolver,
    RefusedAddress,
    guarded_socket,
    on_behalf_of,
    system_lookup,
)
from notifier.webhooks.lookups import Lookup
from notifier.webhooks.ports import Answered, NotSent

__all__ = ["HttpSender"]

_IDLE_S: Final = 30.0
"""How long a connection waits for the next delivery to its receiver."""
_BODY_S: Final = 1.0
"""A receiver that has said its status need not finish its sentence."""
_CHUNK: Final = 16 * 1024
_MAX_HEADER: Final = 8190


class HttpSender:
    """A Part; implements `Sender`. Its sockets reach no address that the rules refuse."""

    def __init__(
        self,
        rules: AddressRules,
        *,
        max_in_flight: int,
        connect_timeout: timedelta,
        timeout: timedelta,
        response_bytes: int,
        ca_file: Path | None = None,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._rules = rules
        self._max_in_flight = max_in_flight
        self._limits = aiohttp.ClientTimeout(
            total=timeout.total_seconds(), connect=connect_timeout.total_seconds()
        )
        self._response_bytes = response_bytes
        self._ca_file = ca_file
        self._lookup = lookup
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open nothing yet: connections are made by deliveries."""
        connector = aiohttp.TCPConnector(
            limit=self._max_in_flight,
            resolver=GuardedResolver(self._rules, self._lookup),
            use_dns_cache=False,
            socket_factory=guarded_socket(self._rules),
            happy_eyeballs_delay=None,
            keepalive_timeout=_IDLE_S,
            ssl=_tls(self._ca_file),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
        )

    async def stop(self) -> None:
        """Close all connections; works twice and unstarted."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(
        self, target: Target, body: bytes, headers: Mapping[str, str], *, tenant: str
    ) -> Answered:
        """See `Sender.send`."""
        assert self._session is not None, "started before"
        try:
            with on_behalf_of(tenant):
                async with self._session.post(
                    URL(target.url, encoded=True),
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=self._limits,
                ) as answer:
                    await self._throw_away(answer)
                    return Answered(answer.status, answer.headers.get("retry-after"))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _translated(error) from error

    async def _throw_away(self, answer: aiohttp.ClientResponse) -> None:
        """Read the body so that the connection can serve again, but not for long."""
        seen = 0
        try:
            async with asyncio.timeout(_BODY_S):
                async for chunk in answer.content.iter_chunked(_CHUNK):
                    seen += len(chunk)
                    if seen > self._response_bytes:
                        break
                else:
                    return
        except (TimeoutError, aiohttp.ClientError):
            pass  # the status has been said; what follows changes nothing
        answer.close()


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def _translated(error: Exception) -> NotSent:
    """Ours for theirs; quotes neither URL nor address."""
    cause = getattr(error, "os_error", error)
    match cause if isinstance(cause, RefusedAddress) else error:
        case RefusedAddress():
            return NotSent(str(cause), code="refused_address")
        case TimeoutError():
            return NotSent("no answer in time", code="timeout")
        case aiohttp.ClientConnectorDNSError():
            return NotSent("the name does not resolve", code="dns")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return NotSent("the TLS handshake failed; look at the certificate", code="tls")
        case aiohttp.ClientConnectorError():
            return NotSent("no connection", code="connect")
        case _:
            return NotSent(f"the exchange broke off ({type(error).__name__})", code="protocol")
