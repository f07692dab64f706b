"""A real Kafka for tests: `KAFKA_BOOTSTRAP`, else a native broker, else a container; no skip."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from penstock.dev.errors import DevError
from penstock.dev.kafka import KafkaNode, kafka_spec
from penstock.dev.ports import PortPicker
from penstock.dev.process import end_group, run_process

__all__ = ["kafka_bootstrap", "native_broker"]


@contextmanager
def native_broker(folder: Path, *, stop_timeout_s: float = 0) -> Iterator[KafkaNode]:
    """A broker of one's own, for tests that stop it or fill it; about four seconds.

    `stop_timeout_s` 0 kills it at the end. After that the same folder starts again only when the
    former session of the node is over (6 s), after a stop in order at once.
    """
    ports = PortPicker()
    node = KafkaNode(
        data=folder / "kafka", port=ports.pick(), controller_port=ports.pick(), heap="384m"
    )
    spec = kafka_spec(node, log=folder / "kafka.log")
    process = run_process(spec)
    try:
        yield node
    finally:
        end_group(process, timeout_s=stop_timeout_s)


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a broker shared by the session; give topics and groups names of your own."""
    given = os.environ.get("KAFKA_BOOTSTRAP")
    if given:
        yield given
        return
    try:
        with native_broker(tmp_path_factory.mktemp("kafka")) as node:
            yield node.bootstrap
    except DevError as error:
        if not _has_container_engine():
            pytest.fail(
                "these tests need Kafka: set KAFKA_BOOTSTRAP=host:port, or mend this: "
                + str(error),
                pytrace=False,
            )
        yield from _container()


def _has_container_engine() -> bool:
    return any(shutil.which(engine) for engine in ("docker", "podman"))


def _container() -> Iterator[str]:
    from testcontainers.kafka import KafkaContainer  # noqa: PLC0415 - only where an engine exists

    with KafkaContainer().with_kraft() as container:
        yield str(container.get_bootstrap_server())
