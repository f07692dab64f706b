"""The demonstration holds: chat with a cut socket, ingest and search, a job straight from Kafka."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Stack


@pytest.mark.timeout(400)
def test_all_three_demonstrations_hold(stack: Stack) -> None:
    done = stack.cli("dev", "demo", timeout_s=380)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 demonstrations hold" in done.stdout
