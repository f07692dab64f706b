"""Requests of the client, as they go over the wire."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from gateway.parameters import cancel_after
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
