"""Apache Kafka as a native process: one KRaft node on the loopback interface, no container engine.

Source: kafka.apache.org/documentation, "Broker Configs" of 4.3.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from penstock_kit.kafka.factory import make_admin
from penstock_kit.settings import KafkaSettings

from penstock.dev.errors import NotReady
from penstock.dev.jars import cache_dir, fetch_jars
from penstock.dev.java import find_java
from penstock.dev.ports import LOOPBACK, accepts_connections
from penstock.dev.process import ProcessSpec

__all__ = ["KafkaNode", "is_broker_ready", "kafka_spec"]

_CLUSTER_ID = "cGVuc3RvY2stZGV2LTAwMQ"
"""Base64 of 16 bytes that say penstock-dev-001; a data folder is one cluster."""

_SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=BROKER://{host}:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
num.partitions=8
default.replication.factor=1
min.insync.replicas=1
# One node cannot hold the three copies that internal topics ask for by default.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=2
# A group is ready when its first member is there; clients may choose short heartbeats and sessions.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=200
group.consumer.heartbeat.interval.ms=500
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=10000
# Small: a laptop, not a rack.
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=2
log.cleaner.dedupe.buffer.size=8388608
log.index.size.max.bytes=1048576
# After a crash the node waits for its former self to expire: 9 s by default.
broker.session.timeout.ms=6000
"""

_LOG4J = """\
status = ERROR
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %-5p %c{1}: %m%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = OUT
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaNode:
    """Where the node keeps its data and listens. `data` survives; ports may change between runs."""

    data: Path
    port: int
    controller_port: int
    heap: str = "512m"

    @property
    def bootstrap(self) -> str:
        """What clients connect to."""
        return f"{LOOPBACK}:{self.port}"


def kafka_spec(node: KafkaNode, *, log: Path, jars: Path | None = None) -> ProcessSpec:
    """Prepare the data folder and say how to run the node; missing jars are fetched.

    Raises:
        MissingProgram: no Java, or no Maven for the first download.
        DownloadFailed: Maven failed.
        NotReady: the data folder cannot be formatted.
    """
    java = find_java()
    classpath = f"{jars or fetch_jars(cache_dir())}/*"
    node.data.mkdir(parents=True, exist_ok=True)
    settings = node.data / "server.properties"
    settings.write_text(
        _SETTINGS.format(
            host=LOOPBACK,
            port=node.port,
            controller_port=node.controller_port,
            data=node.data / "log",
        )
    )
    logging = node.data / "log4j2.properties"
    logging.write_text(_LOG4J)
    command = (
        str(java),
        f"-Xmx{node.heap}",
        f"-Xms{node.heap}",  # untouched pages cost nothing, growing costs pauses
        "-Xmn128m",
        "-XX:+UseSerialGC",
        # The optimising compiler needs minutes to pay for itself, and two cores while it works.
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={logging}",
        "-cp",
        classpath,
    )
    if not (node.data / "log" / "meta.properties").exists():
        _format(command, settings)
    return ProcessSpec(
        name="kafka",
        argv=(*command, "kafka.Kafka", str(settings)),
        log=log,
        is_ready=lambda: is_broker_ready(node.bootstrap, node.port),
        stop_timeout_s=4.0,
    )


def is_broker_ready(bootstrap: str, port: int) -> bool:
    """Whether the broker answers requests, not only connections."""
    if not accepts_connections(port):
        return False
    client = make_admin(
        KafkaSettings(bootstrap=bootstrap), client_id="penstock-probe", overrides={"log_level": 0}
    )
    try:
        return bool(client.list_topics(timeout=1.0).brokers)
    except KafkaException:
        return False


def _format(command: tuple[str, ...], settings: Path) -> None:
    cluster = _CLUSTER_ID
    answer = subprocess.run(  # noqa: S603 - the command is ours
        [*command, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if answer.returncode != 0:
        raise NotReady(
            f"Kafka cannot format {settings.parent}:\n{(answer.stdout + answer.stderr)[-999:]}\n",
            hint="check that the folder is writable and the disk is not full",
        )
