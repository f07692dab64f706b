from __future__ import annotations

import getpass
import socket

import pytest
from penstock.cli.who import operator


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 10001"), OSError()])
def test_operator_when_the_user_has_no_name_is_unknown_at_this_host(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)

    assert operator() == f"unknown@{socket.gethostname()}"
