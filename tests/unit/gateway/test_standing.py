"""Credentials that end while their holder is being served."""

from __future__ import annotations

import asyncio

import pytest
from gateway.mailbox import Closing
from gateway.standing import Standing, lapsed
from penstock_contracts.credentials import Scope
from penstock_kit.auth.principal import AuthError, Principal

from tests.support.virtual_loop import VirtualLoop, run_virtually

ANN = Principal("acme", "ann", Scope.USER, "jwt:issuer:ann")


class Token:
    """Expires when a test says so, and counts who asks."""

    def __init__(self) -> None:
        self.is_over = False
        self.looks = 0

    def lapse_of(self, _: Principal) -> AuthError | None:
        self.looks += 1
        return AuthError("the token has expired", code="expired_token") if self.is_over else None


def test_check_when_a_stream_is_busy_then_it_looks_by_time() -> None:
    token = Token()

    async def serve() -> None:
        standing = Standing(ANN, token.lapse_of, every_s=15)
        for _ in range(600):
            await asyncio.sleep(0.1)
            standing.check()

    run_virtually(serve(), VirtualLoop())

    assert token.looks in {3, 4}


def test_check_when_the_token_has_expired_then_the_stream_ends_and_tells_why() -> None:
    token = Token()

    async def serve() -> None:
        standing = Standing(ANN, token.lapse_of, every_s=15)
        token.is_over = True
        standing.check()
        await asyncio.sleep(15)
        standing.check()

    with pytest.raises(Closing) as closing:
        run_virtually(serve(), VirtualLoop())

    assert closing.value.reason == "expired_token"


@pytest.mark.parametrize("code", ["expired_token", "expired_api_key", "revoked_api_key"])
def test_lapsed_when_told_then_by_the_code_of_the_credential(code: str) -> None:
    error = lapsed(code)

    assert (error.kind.code, error.kind.status) == (code, 401)
    assert "while the job ran" in error.detail
