"""Real sockets: what is sent, to which address, and above all what is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from notifier.webhooks.http_sender import HttpSender
from notifier.webhooks.lookups import Lookup
from notifier.webhooks.ports import Answered, NotSent
from penstock_kit.webhooks.addresses import AddressRules
from penstock_kit.webhooks.urls import BadUrl, Target, UrlRules

from tests.support.hostile_urls import HOSTILE_URLS, PRIVATE_ADDRESSES
from tests.support.webhook_receiver import Authority, Got, Receiver, receiver

HEADERS = {"webhook-id": "evt_1", "content-type": "application/json"}
OPEN = AddressRules(allow_loopback=True)
CLOSED = AddressRules()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("ca"), "hooks.example.com")


class Names:
    """A resolver under our control: the next answer at every look-up, the last for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = answers or (["127.0.0.1"],)
        self.asked: list[str] = []

    def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@asynccontextmanager
async def sending(
    rules: AddressRules,
    lookup: Lookup,
    *,
    ca: Path | None = None,
    timeout: timedelta = timedelta(seconds=5),
) -> AsyncIterator[HttpSender]:
    sender = HttpSender(
        rules,
        max_in_flight=16,
        connect_timeout=timedelta(seconds=2),
        timeout=timeout,
        response_bytes=1000,
        ca_file=ca,
        lookup=lookup,
    )
    await sender.start()
    try:
        yield sender
    finally:
        await sender.stop()


def target(to: Receiver, host: str = "hooks.example.com", path: str = "/in?a=%20b") -> Target:
    return Target(f"{to.scheme}://{host}:{to.port}{path}", to.scheme, host, to.port, None)


async def test_request_goes_to_the_checked_address_with_the_names_own_host_and_sni(
    authority: Authority,
) -> None:
    names = Names()
    async with receiver(authority) as to, sending(OPEN, names, ca=authority.ca) as sender:
        first = await sender.send(target(to), b'{"a":1}', HEADERS, tenant="acme")
        second = await sender.send(target(to), b'{"a":2}', HEADERS, tenant="acme")

    assert (first, second) == (Answered(204), Answered(204))
    assert [one.body for one in to.got] == [b'{"a":1}', b'{"a":2}']
    assert to.got[0].path == "/in?a=%20b"
    assert to.got[0].headers["host"] == f"hooks.example.com:{to.port}"
    assert to.names == ["hooks.example.com"]
    assert to.connections == 1, "the connection served again"
    assert names.asked == ["hooks.example.com"], "one look-up per connection"


async def test_certificate_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    async with receiver(authority) as to, sending(OPEN, Names()) as sender:
        with pytest.raises(NotSent) as refused:
            await sender.send(target(to), b"{}", HEADERS, tenant="acme")

    assert refused.value.code == "tls"
    assert to.got == []


async def test_certificate_of_another_name_is_refused(authority: Authority) -> None:
    async with receiver(authority) as to, sending(OPEN, Names(), ca=authority.ca) as sender:
        with pytest.raises(NotSent) as refused:
            await sender.send(target(to, "other.example.com"), b"{}", HEADERS, tenant="acme")

    assert refused.value.code == "tls"
    assert to.got == []


@pytest.mark.parametrize("address", [*PRIVATE_ADDRESSES])
async def test_name_that_leads_inside_is_not_connected_to(address: str) -> None:
    async with receiver() as to, sending(CLOSED, Names([address])) as sender:
        with pytest.raises(NotSent) as refused:
            await sender.send(target(to), b"{}", HEADERS, tenant="acme")

    assert refused.value.code == "refused_address"
    assert to.connections == 0


async def test_one_address_inside_spoils_the_whole_answer() -> None:
    async with receiver() as to, sending(CLOSED, Names(["8.8.8.8", "127.0.0.1"])) as sender:
        with pytest.raises(NotSent) as refused:
            await sender.send(target(to), b"{}", HEADERS, tenant="acme")

    assert refused.value.code == "refused_address"
    assert to.connections == 0


async def test_name_that_changes_its_address_never_gets_a_connection_inside() -> None:
    """A public address when asked first, ours ever after: as a rebinding attack does it."""
    # 192.0.2.0/24 leads nowhere; for this sender alone it passes as public.
    rules = _Lenient("192.0.2.1")
    names = Names(["192.0.2.1"], ["127.0.0.1"])
    async with receiver() as to, sending(rules, names, timeout=timedelta(seconds=1)) as sender:
        codes = []
        for _ in range(5):
            with pytest.raises(NotSent) as refused:
                await sender.send(target(to), b"{}", HEADERS, tenant="acme")
            codes.append(refused.value.code)

    assert codes[0] in ("timeout", "connect")
    assert codes[1:] == ["refused_address"] * 4
    assert len(names.asked) == 5, "checked and used is one and the same answer"
    assert to.connections == 0


async def test_resolver_that_lies_to_the_check_is_stopped_by_the_socket() -> None:
    """Even an answer that nobody judged gets no connection: the socket is the last word."""
    async with receiver() as to, sending(CLOSED, Names()) as sender:
        inside = Target(f"http://127.0.0.1:{to.port}/", "http", "127.0.0.1", to.port, None)
        with pytest.raises(NotSent) as refused:  # an address needs no resolver
            await sender.send(inside, b"{}", HEADERS, tenant="acme")

    assert refused.value.code == "refused_address"
    assert to.connections == 0


async def test_no_hostile_url_leads_to_a_connection() -> None:
    """Each case through both gates, the second alone as well; our listener counts."""
    rules = UrlRules(CLOSED, ports=frozenset({443}))
    async with receiver() as to, sending(CLOSED, Names()) as sender:
        for url in HOSTILE_URLS:
            with pytest.raises(BadUrl):
                rules.parse(url)
            # As if the first gate were not there, and at the port where somebody listens.
            forced = url.replace("https://", "http://", 1).replace("/hook", f":{to.port}/hook")
            with suppress(NotSent, AssertionError):
                await sender.send(
                    Target(forced, "http", "x", to.port, None), b"{}", HEADERS, tenant="acme"
                )

    assert to.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(status: int) -> None:
    async with receiver() as inside:

        async def elsewhere(_: Got) -> web.StreamResponse:
            place = f"http://127.0.0.1:{inside.port}/secret"
            return web.Response(status=status, headers={"location": place})

        async with receiver(answer=elsewhere) as to, sending(OPEN, Names()) as sender:
            answer = await sender.send(target(to), b"{}", HEADERS, tenant="acme")

    assert answer.status == status
    assert inside.connections == 0


async def test_endless_answer_is_not_read_to_its_end() -> None:
    async def endless(_: Got) -> web.StreamResponse:
        return web.Response(status=200, body=_forever())

    async with receiver(answer=endless) as to, sending(OPEN, Names()) as sender:
        async with asyncio.timeout(3):
            assert (await sender.send(target(to), b"{}", HEADERS, tenant="acme")).status == 200
            assert (await sender.send(target(to), b"{}", HEADERS, tenant="acme")).status == 200

    assert to.connections == 2, "a connection with a rest in it does not serve again"


async def test_status_counts_though_the_body_never_comes() -> None:
    async def silent(_: Got) -> web.StreamResponse:
        return web.Response(status=410, body=_never())

    async with receiver(answer=silent) as to, sending(OPEN, Names()) as sender:
        async with asyncio.timeout(3):
            assert (await sender.send(target(to), b"{}", HEADERS, tenant="acme")).status == 410


async def test_receiver_that_says_nothing_is_left_after_the_timeout() -> None:
    async def silent(_: Got) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    limit = timedelta(milliseconds=300)
    async with receiver(answer=silent) as to, sending(OPEN, Names(), timeout=limit) as sender:
        with pytest.raises(NotSent) as refused:
            await sender.send(target(to), b"{}", HEADERS, tenant="acme")

    assert refused.value.code == "timeout"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x00\xff garbage\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"220 smtp.example.com ESMTP\r\n",
    ],
)
async def test_what_is_no_http_is_a_failed_try(said: bytes) -> None:
    async with _raw(said) as port, sending(OPEN, Names()) as sender:
        to = Target(f"http://hooks.example.com:{port}/", "http", "hooks.example.com", port, None)
        with pytest.raises(NotSent) as refused:
            await sender.send(to, b"{}", HEADERS, tenant="acme")

    assert refused.value.code == "protocol"


async def test_name_that_does_not_resolve_and_port_that_is_closed_are_told_apart() -> None:
    def nothing(host: str) -> Sequence[str]:
        raise OSError(f"no address of {len(host)} characters")

    async with receiver() as to:
        pass
    async with sending(OPEN, nothing) as sender:
        with pytest.raises(NotSent) as dns:
            await sender.send(target(to), b"{}", HEADERS, tenant="acme")
    async with sending(OPEN, Names()) as sender:
        with pytest.raises(NotSent) as closed:
            await sender.send(target(to), b"{}", HEADERS, tenant="acme")

    assert (dns.value.code, closed.value.code) == ("dns", "connect")


async def test_dead_names_of_one_tenant_keep_no_other_waiting() -> None:
    """Many dead names, more than there are threads for one; the other tenant is told meanwhile."""
    answers = threading.Event()

    def lookup(host: str) -> Sequence[str]:
        if host.startswith("dead"):
            answers.wait(30)
            raise OSError("nobody answers")
        return ["127.0.0.1"]

    async with receiver() as to, sending(OPEN, lookup) as sender:
        dead = [
            asyncio.create_task(
                sender.send(target(to, f"dead{number}.example.com"), b"{}", HEADERS, tenant="evil")
            )
            for number in range(12)
        ]
        try:
            answer = await sender.send(target(to), b"{}", HEADERS, tenant="acme")
        finally:
            answers.set()
        told = await asyncio.gather(*dead, return_exceptions=True)

    assert answer.status == 204
    assert all(isinstance(one, NotSent) for one in told)


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver() as proxy, receiver() as to, sending(OPEN, Names()) as sender:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await sender.send(target(to), b"{}", HEADERS, tenant="acme")).status == 204

    assert proxy.connections == 0


class _Lenient(AddressRules):
    """Takes one address for a public one, so that no test needs the network."""

    def __init__(self, public: str) -> None:
        super().__init__()
        self._public = public

    def refusal(self, address: Any) -> str | None:
        return None if str(address) == self._public else super().refusal(address)


async def _forever() -> AsyncIterator[bytes]:
    while True:
        yield b"a" * 4096
        await asyncio.sleep(0)


async def _never() -> AsyncIterator[bytes]:
    yield b"a"
    await asyncio.sleep(30)


@asynccontextmanager
async def _raw(said: bytes) -> AsyncIterator[int]:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield _port(server.sockets[0].getsockname)
    finally:
        server.close()
        await server.wait_closed()


def _port(name: Callable[[], Any]) -> int:
    return int(name()[1])
