"""A whole stack, up and running: the rig's one object for everything that can be broken."""

from __future__ import annotations

import asyncio
import resource
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from penstock.dev.secrets import DevKey, DevSecrets, load_secrets
from penstock_contracts.credentials import Scope
from penstock_contracts.topics import EVENTS, Topic
from penstock_kit.auth.api_keys import make_api_key
from penstock_kit.auth.table import credential_record
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.settings import KafkaSettings
from penstock_kit.tasks import load_tasks

from tests.promises.journal import Journal
from tests.promises.stack.fleet import Fleet
from tests.promises.stack.layout import Layout
from tests.promises.stack.servers import (
    broker_spec,
    provider_spec,
    proxy_spec,
    redis_server_spec,
)
from tests.promises.stack.services import service_spec, write_files

__all__ = ["RunningStack", "running_stack"]

_DISK_FULL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class RunningStack:
    """Addresses, keys and the fleet."""

    layout: Layout
    fleet: Fleet
    secrets: DevSecrets
    journal: Journal

    @property
    def gateway(self) -> str:
        """Base URL of the API."""
        return f"http://127.0.0.1:{self.layout.ports.gateway}"

    @property
    def notifier(self) -> str:
        """URL of the socket."""
        return f"ws://127.0.0.1:{self.layout.ports.notifier}/v1/socket"

    @property
    def kafka(self) -> str:
        """Bootstrap that no fault of the network touches; process faults do."""
        return f"127.0.0.1:{self.layout.ports.kafka_direct}"

    def key(self, name: str = "api_key") -> str:
        """An API key of the tenant `dev`."""
        return self.secrets.keys[name].token

    @property
    def tenants(self) -> dict[str, str]:
        """An API key of every tenant."""
        return {
            key.record.tenant: key.token
            for key in self.secrets.keys.values()
            if key.record.scope is Scope.TENANT
        }

    def empty_redis(self) -> None:
        """Remove what Redis kept on disk; only while it is down."""
        shutil.rmtree(self.layout.data / "redis", ignore_errors=True)
        (self.layout.data / "redis").mkdir(parents=True, exist_ok=True)

    def fill_disk(self) -> bool:
        """No file of the broker may grow beyond a page any more, as on a full disk."""
        pid = self.fleet.pid("kafka")
        if pid is None:
            return False
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (_DISK_FULL_BYTES, hard))
        self.journal.write(event="disk_full", label="kafka", pid=pid)
        return True


@asynccontextmanager
async def running_stack(layout: Layout) -> AsyncIterator[RunningStack]:
    """Start everything, hand it out, end everything."""
    for folder in (layout.logs, layout.evidence, layout.data):
        folder.mkdir(parents=True, exist_ok=True)
    write_files(layout)
    secrets = _more_tenants(
        load_secrets(layout.data / "secrets.json", now=datetime.now(timezone.utc))
    )
    journal = Journal(layout.evidence / "processes.jsonl")
    fleet = Fleet(journal)
    stack = RunningStack(layout, fleet, secrets, journal)
    try:
        broker = await asyncio.to_thread(broker_spec, layout)
        servers = [
            ("kafka", broker),
            ("redis", redis_server_spec(layout)),
            ("provider", provider_spec(layout)),
            ("proxy", proxy_spec(layout)),
        ]
        await fleet.start(servers)
        await _prepare_log(stack)
        await fleet.start(
            [
                (label, service_spec(layout, service, label, id_secret=secrets.id_secret))
                for service, label in layout.services
            ]
        )
        yield stack
    finally:
        journal.write(event="teardown")
        services = [label for _, label in layout.services if label in fleet.labels]
        if services:
            await fleet.stop(services, within_s=2)
        for label in [label for label in fleet.labels if label not in services]:
            await fleet.hold(label, signal.SIGKILL)
        journal.close()


def _more_tenants(secrets: DevSecrets) -> DevSecrets:
    """Fairness is between more than two."""
    now, keys = datetime.now(timezone.utc), dict(secrets.keys)
    for tenant in ("third", "fourth", "fifth"):
        made = make_api_key(tenant=tenant, user=tenant, scope=Scope.TENANT, now=now)
        keys[tenant] = DevKey(token=made.token, record=made.record)
    return DevSecrets(id_secret=secrets.id_secret, keys=keys)


async def _prepare_log(stack: RunningStack) -> None:
    """Topics and credentials; the broker's own clock stamps the events, for the checker."""
    kafka = KafkaSettings(bootstrap=stack.kafka)
    topics = load_tasks(stack.layout.data / "tasks.yaml").topics()
    await ensure_topics(kafka, [_small(topic, stack.layout.partitions) for topic in topics])
    await asyncio.to_thread(_stamp_by_broker, stack.kafka)
    producer = KafkaProducer(kafka)
    await producer.start()
    try:
        for key in stack.secrets.keys.values():
            now = datetime.now(timezone.utc)
            event_id = f"rig-{key.record.id}"
            await producer.send(
                credential_record(key.record, source="rig", now=now, event_id=event_id)
            )
    finally:
        await producer.stop()


def _stamp_by_broker(bootstrap: str) -> None:
    entry = ConfigEntry(
        "message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET
    )
    what = ConfigResource(ResourceType.TOPIC, EVENTS.name, incremental_configs=[entry])
    client = AdminClient({"bootstrap.servers": bootstrap})
    for done in client.incremental_alter_configs([what]).values():
        done.result(30)


def _small(topic: Topic, partitions: int) -> Topic:
    """Fewer partitions: what little goes through is spread thinly enough."""
    if topic.partitions == 1:
        return topic
    is_rare = topic.name.endswith((".high", ".low")) or topic.name.startswith("ai.retries.")
    return replace(topic, partitions=2 if is_rare else partitions)
