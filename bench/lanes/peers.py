"""Knows how to start each arm; peers run in environments of their own, hash-pinned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.environments import made_once, python_environment

__all__ = ["ARMS", "Arm", "Order"]

_HERE = Path(__file__).parent
_PEERS = _HERE / "peers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an arm is asked to do; the fields are those of `arms/recording.py`."""

    bootstrap: str
    topic: str
    group: str
    count: int
    out: Path
    work_s: float = 0.0
    slow_s: float = 0.0
    concurrency: int = 1000
    journal: Path | None = None
    go: Path | None = None

    def as_json(self) -> str:
        """The argument of a Python arm."""
        return json.dumps(
            {
                "bootstrap": self.bootstrap,
                "topic": self.topic,
                "group": self.group,
                "count": self.count,
                "work_s": self.work_s,
                "slow_s": self.slow_s,
                "concurrency": self.concurrency,
                "out": str(self.out),
                "journal": None if self.journal is None else str(self.journal),
                "go": None if self.go is None else str(self.go),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A consumer that takes part, with the concurrency that it is given at most."""

    name: str
    command: Callable[[Order], list[str]]
    concurrency: int = 1000


def _parallel_consumer() -> str:
    """The class path of the Java arm, fetched and compiled once."""
    source = _HERE / "arms" / "parallel_consumer"

    def make(folder: Path) -> None:
        _run(
            ["mvn", "-q", "-B", "-f", str(source / "pom.xml"), "dependency:copy-dependencies",
             f"-DoutputDirectory={folder / 'lib'}"]
        )  # fmt: skip
        _run(
            ["javac", "-cp", f"{folder / 'lib'}/*", "-d", str(folder / "classes"),
             str(source / "Arm.java")]
        )  # fmt: skip

    folder = made_once("parallel-consumer", [source / "pom.xml", source / "Arm.java"], make)
    return f"{folder / 'lib'}/*{os.pathsep}{folder / 'classes'}"


def _python_arm(peer: str | None, script: str) -> Callable[[Order], list[str]]:
    def command(order: Order) -> list[str]:
        python = (
            Path(sys.executable) if peer is None else python_environment(_PEERS / f"{peer}.txt")
        )
        return [str(python), str(_HERE / "arms" / script), order.as_json()]

    return command


def _java_arm(order: Order) -> list[str]:
    journal = "" if order.journal is None else str(order.journal)
    return [
        "java", "-Xmx512m", "-cp", _parallel_consumer(), "Arm", order.bootstrap, order.topic,
        order.group, str(order.count), str(order.work_s), str(order.slow_s),
        str(order.concurrency), str(order.out), journal,
    ]  # fmt: skip


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)


ARMS = {
    arm.name: arm
    for arm in (
        Arm(name="lanes", command=_python_arm(None, "ours.py")),
        Arm(name="parallel-consumer-1000", command=_java_arm),
        Arm(name="parallel-consumer-100", command=_java_arm, concurrency=100),
        Arm(name="faust", command=_python_arm("faust", "faust_agent.py")),
        Arm(
            name="faststream-aiokafka",
            command=_python_arm("faststream", "faststream_aiokafka.py"),
        ),
        Arm(
            name="faststream-confluent",
            command=_python_arm("faststream", "faststream_confluent.py"),
        ),
        Arm(name="aiokafka-gather", command=_python_arm("faststream", "aiokafka_gather.py")),
        Arm(name="aiokafka-getmany", command=_python_arm("faststream", "aiokafka_serial.py")),
        Arm(name="confluent-raw", command=_python_arm("faststream", "confluent_raw.py")),
        Arm(name="quixstreams", command=_python_arm("quixstreams", "quix_streams.py")),
    )
}
"""Peers beside ours. Each runs as its own documentation says; the recording is the same."""
