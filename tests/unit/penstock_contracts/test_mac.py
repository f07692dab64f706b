"""Our HMAC is everybody's HMAC."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st
from penstock_contracts.mac import hmac_sha256


@given(st.binary(max_size=200), st.binary(max_size=500))
def test_hmac_when_any_secret_and_text_then_as_the_library(secret: bytes, text: bytes) -> None:
    assert hmac_sha256(secret, text) == hmac.digest(secret, text, "sha256")
