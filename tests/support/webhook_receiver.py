"""A receiver of webhooks with TLS under an authority of its own; it remembers what it was sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "Got", "Receiver", "receiver"]

HOST = "hooks.example.com"


@dataclass(frozen=True, slots=True)
class Authority:
    """Files of a certificate authority and of one server certificate for names and 127.0.0.1."""

    ca: Path
    chain: Path
    key: Path

    @classmethod
    def make(cls, folder: Path, *names: str) -> Authority:
        """Keys and certificates for a day."""
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        ca_name, name = _name("Penstock tests"), _name(names[0] if names else HOST)
        ca = _certificate(ca_name, ca_name, ca_key, ca_key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        others: list[x509.GeneralName] = [x509.DNSName(one) for one in names or (HOST,)]
        others.append(x509.IPAddress(ip_address("127.0.0.1")))
        leaf = _certificate(name, ca_name, key, ca_key).add_extension(
            x509.SubjectAlternativeName(others), critical=False
        )
        made = cls(folder / "ca.pem", folder / "chain.pem", folder / "key.pem")
        pem = serialization.Encoding.PEM
        made.ca.write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
        made.chain.write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem))
        made.key.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return made


@dataclass(frozen=True, slots=True)
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    peer: str


Answer = Callable[[Got], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Receiver:
    """What has come so far.

    Attributes:
        connections: TCP connections, with or without a request.
        names: names of TLS handshakes.
    """

    port: int = 0
    scheme: str = "https"
    got: list[Got] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    connections: int = 0
    answer: Answer | None = None

    @property
    def ids(self) -> list[str]:
        """`webhook-id` of each request."""
        return [one.headers["webhook-id"] for one in self.got]

    async def until(self, fact: Callable[[], bool], timeout_s: float = 60) -> None:
        """Return once the fact holds."""
        async with asyncio.timeout(timeout_s):
            while not fact():  # noqa: ASYNC110 - other processes set no event
                await asyncio.sleep(0.01)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take one request."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        got = Got(request.path_qs, headers, await request.read(), str(request.remote))
        self.got.append(got)
        return web.Response(status=204) if self.answer is None else await self.answer(got)


@asynccontextmanager
async def receiver(
    authority: Authority | None = None, *, answer: Answer | None = None, port: int = 0
) -> AsyncIterator[Receiver]:
    """A receiver on 127.0.0.1; without an authority it speaks plain HTTP."""
    made = Receiver(answer=answer, scheme="http" if authority is None else "https")
    server = web.Server(made.handle)

    def connect() -> asyncio.BaseProtocol:
        made.connections += 1
        return server()

    loop = asyncio.get_running_loop()
    context = None if authority is None else _context(authority, made)
    listening = await loop.create_server(connect, "127.0.0.1", port, ssl=context)
    made.port = listening.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        listening.close()
        await server.shutdown(1)
        await listening.wait_closed()


def _context(authority: Authority, made: Receiver) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.chain, authority.key)

    def note(_: ssl.SSLObject | ssl.SSLSocket, name: str | None, __: ssl.SSLContext) -> None:
        made.names.append(name)

    context.sni_callback = note
    return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
