"""Requests of the client, as they go over the wire."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from gateway.parameters import cancel_after
from penstock.client.sockets import socket_url
from penstock.client.wire import Call, submit_call


def submit(**given: Any) -> Call:
    nothing = dict.fromkeys(
        (
            "model",
            "params",
            "priority",
            "conversation",
            "deadline",
            "cancel_after",
            "charge",
            "metadata",
            "idempotency_key",
            "wait",
        )
    )
    return submit_call("chat", "hi", **{**nothing, **given})


@pytest.mark.parametrize("limit", [timedelta(seconds=1.5), timedelta(days=7)])
def test_submit_with_a_limit_sends_a_header_that_the_gateway_reads(limit: timedelta) -> None:
    call = submit(cancel_after=limit)

    assert call.headers is not None
    assert cancel_after(call.headers["Cancel-After"]) == limit


def test_submit_without_limits_sends_none() -> None:
    assert submit() == Call("POST", "/v1/jobs", json={"task": "chat", "input": "hi"}, headers={})


@pytest.mark.parametrize(
    ("notifier", "url"),
    [
        ("ws://notifier", "ws://notifier/v1/socket"),
        ("ws://notifier:8081/", "ws://notifier:8081/v1/socket"),
        ("ws://notifier:8081/v1/socket", "ws://notifier:8081/v1/socket"),
        ("wss://example.com/penstock", "wss://example.com/penstock/v1/socket"),
    ],
)
def test_socket_is_found_from_the_notifier_and_from_itself(notifier: str, url: str) -> None:
    assert socket_url(notifier) == url
