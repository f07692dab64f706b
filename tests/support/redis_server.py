"""A real Redis for tests: `REDIS_URL` if set, else a native server. Never a skip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from penstock.dev.errors import DevError
from penstock.dev.ports import LOOPBACK, PortPicker
from penstock.dev.process import end_group, run_process
from penstock.dev.redis import redis_spec

__all__ = ["native_redis", "redis_url"]


@contextmanager
def native_redis(folder: Path, *, keep: bool = False) -> Iterator[str]:
    """A server of one's own, for tests that stop or flush it; yields its URL."""
    port = PortPicker().pick()
    spec = redis_spec(data=folder / "redis", port=port, log=folder / "redis.log", keep=keep)
    process = run_process(spec)
    try:
        yield f"redis://{LOOPBACK}:{port}/0"
    finally:
        end_group(process, timeout_s=2)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server shared by the session; use a tenant of your own, and do not flush."""
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
        return
    try:
        with native_redis(tmp_path_factory.mktemp("redis")) as url:
            yield url
    except DevError as error:
        pytest.fail(
            f"these tests need Redis: set REDIS_URL=redis://host:port/0, or mend this: {error}",
            pytrace=False,
        )
