"""URLs that a tenant may have us request, and those that would lead into the network."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock_kit.webhooks.addresses import AddressRules
from penstock_kit.webhooks.settings import WebhookSettings
from penstock_kit.webhooks.urls import BadUrl, UrlRules

from tests.support.hostile_urls import GOOD_URLS, HOSTILE_URLS, PRIVATE_ADDRESSES, PUBLIC_ADDRESSES

PORTS = frozenset({443, 8443})


def rules(*, allow_loopback: bool = False) -> UrlRules:
    addresses = AddressRules(allow_loopback=allow_loopback)
    return UrlRules(addresses, ports=PORTS, allow_loopback=allow_loopback)


def test_there_are_enough_cases() -> None:
    assert len(set(HOSTILE_URLS)) >= 150


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_hostile_url_is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        rules().parse(url)


@pytest.mark.parametrize("url", GOOD_URLS)
def test_public_url_is_taken(url: str) -> None:
    assert rules().parse(url).url.startswith("https://")


@pytest.mark.parametrize("text", PRIVATE_ADDRESSES)
def test_address_that_is_not_public_is_refused(text: str) -> None:
    assert AddressRules().refusal(ip_address(text)) is not None


@pytest.mark.parametrize("text", PUBLIC_ADDRESSES)
def test_public_address_is_taken(text: str) -> None:
    assert AddressRules().refusal(ip_address(text)) is None


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_taken(address: object) -> None:
    parsed = ip_address(str(address))

    if parsed.is_private or parsed.is_multicast or parsed.is_reserved or parsed.is_link_local:
        assert AddressRules().refusal(parsed) is not None


def test_networks_of_the_deployment_are_refused_though_they_are_public() -> None:
    own = AddressRules(refused=[ip_network("93.184.216.0/24")])

    assert own.refusal(ip_address("93.184.216.34")) == "refused by this deployment"
    assert own.refusal(ip_address("93.184.217.34")) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/hook",
        "https://127.0.0.1:1/",
        "http://localhost:8000",
        "https://[::1]:8443/",
    ],
)
def test_loopback_is_taken_only_with_the_development_setting(url: str) -> None:
    assert rules(allow_loopback=True).parse(url).url.startswith("http")
    with pytest.raises(BadUrl):
        rules().parse(url)


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://10.0.0.1/", "https://example.com:8080/"]
)
def test_development_setting_allows_nothing_but_loopback(url: str) -> None:
    with pytest.raises(BadUrl):
        rules(allow_loopback=True).parse(url)


def test_url_is_requested_in_one_spelling() -> None:
    target = rules().parse("https://Hooks.Example.COM:443?a=%20b")

    assert target.url == "https://hooks.example.com/?a=%20b"
    assert (target.host, target.port, target.address) == ("hooks.example.com", 443, None)


def test_settings_make_the_rules() -> None:
    settings = WebhookSettings.model_validate({"ports": [9443], "refused_networks": ["8.8.8.0/24"]})
    own = settings.url_rules()

    assert own.parse("https://hooks.example.com:9443/").port == 9443
    for url in ("https://hooks.example.com/", "https://8.8.8.8:9443/"):
        with pytest.raises(BadUrl):
            own.parse(url)
