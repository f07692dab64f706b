"""What a stack is made of: which processes, how many, where they listen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from penstock.dev.ports import is_free

__all__ = ["REPLICAS", "Layout", "Ports"]

_LOWEST_PORT, _HIGHEST_PORT = 12_000, 31_000
_WINDOW = 64

REPLICAS: Mapping[str, int] = {
    "recorder": 2,
    "llm-worker": 3,
    "embedder": 1,
    "notifier": 2,
    "gateway": 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where everybody listens. `*_direct` are the servers, the plain names the proxy's ports."""

    kafka_direct: int
    kafka_shared: int
    kafka_victim: int
    kafka_controller: int
    kafka: int
    victim: int
    redis_direct: int
    redis: int
    provider_direct: int
    provider: int
    control: int
    gateway: int
    notifier: int
    admin: Mapping[str, int]

    @classmethod
    def pick_for(cls, replicas: Mapping[str, int]) -> Ports:
        """Free ports below those that the system gives to outgoing connections.

        A killed server must find its port again, and two rigs must not meet.
        """
        free = _free_ports()
        names = [name for name in cls.__dataclass_fields__ if name != "admin"]
        return cls(
            **{name: next(free) for name in names},
            admin={
                f"{service}-{number}": next(free)
                for service, count in replicas.items()
                for number in range(1, count + 1)
            },
        )


def _free_ports() -> Iterator[int]:
    """Each process has a window of its own to begin with."""
    first = _LOWEST_PORT + os.getpid() * _WINDOW % (_HIGHEST_PORT - _LOWEST_PORT)
    for port in chain(range(first, _HIGHEST_PORT), range(_LOWEST_PORT, first)):
        if is_free(port):
            yield port


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One stack as it is wanted.

    Attributes:
        folder: data, logs and evidence.
        skew_s: wall clocks that go wrong, by label of the process.
        sabotage: the switches that every service runs with; none: the product as it is.
        victim: label whose way to the broker can be cut alone.
        env: further settings, by label or service.
    """

    folder: Path
    ports: Ports
    replicas: Mapping[str, int] = field(default_factory=lambda: dict(REPLICAS))
    skew_s: Mapping[str, float] = field(default_factory=dict)
    sabotage: Sequence[str] = ()
    victim: str = "llm-worker-3"
    partitions: int = 8
    env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    idle_s: float = 2.0
    """Silence of the provider in the middle of an answer, after which a call has failed."""
    script: str = ""

    @property
    def services(self) -> list[tuple[str, str]]:
        """(service, label) of every replica."""
        return [
            (service, f"{service}-{number}")
            for service, count in self.replicas.items()
            for number in range(1, count + 1)
        ]

    @property
    def logs(self) -> Path:
        """One file per process."""
        return self.folder / "log"

    @property
    def evidence(self) -> Path:
        """What the checker reads."""
        return self.folder / "evidence"

    @property
    def data(self) -> Path:
        """Kafka, Redis, blobs, vectors."""
        return self.folder / "data"
