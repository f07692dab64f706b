"""The supervisor process: builds a stack out of its options, keeps it, and takes it down."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from penstock_contracts.topics import Topic
from penstock_kit.auth.table import credential_record
from penstock_kit.clock import Clock, SystemClock
from penstock_kit.errors import PenstockError
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.settings import KafkaSettings
from penstock_kit.tasks import load_tasks

from penstock.dev.endpoints import DevJson
from penstock.dev.errors import StackRunning
from penstock.dev.kafka import KafkaNode, kafka_spec
from penstock.dev.keeper import Unit
from penstock.dev.model_server import model_server_spec
from penstock.dev.options import StackOptions
from penstock.dev.paths import StackPaths
from penstock.dev.ports import LOOPBACK, PortPicker
from penstock.dev.redis import redis_spec
from penstock.dev.secrets import DEV_TENANT, OTHER_TENANT, DevSecrets, load_secrets
from penstock.dev.services import StackPorts, local_providers, service_units
from penstock.dev.state import Phase
from penstock.dev.supervisor import Supervisor

__all__ = ["supervise"]

_PATIENCE = timedelta(seconds=60)
"""For the first writes: a broker that has just come up on a busy machine is slow."""
_SERVICES_STOP_S = 2.5
_SERVERS_STOP_S = 2.0
"""Together below the five seconds within which Ctrl-C must have ended everything."""


def supervise(options: StackOptions) -> int:
    """Run the stack until SIGTERM or SIGINT; the exit status. The state file tells the rest."""
    paths = StackPaths(options.root)
    for folder in (paths.root, paths.run, paths.logs):
        folder.mkdir(parents=True, exist_ok=True)
    with _only_one(paths), _data_folder(options, paths) as data:
        return asyncio.run(_Stack(options, paths=paths, data=data, clock=SystemClock()).run())


class _Stack:
    """One run of the stack."""

    def __init__(
        self, options: StackOptions, *, paths: StackPaths, data: Path, clock: Clock
    ) -> None:
        self._options = options
        self._paths = paths
        self._data = data
        self._clock = clock
        self._began = clock.monotonic()
        self._secrets: DevSecrets = load_secrets(paths.secrets, now=clock.now())
        self._picker = PortPicker()
        self._ports = StackPorts.pick(options, self._picker)
        self._kafka = KafkaSettings(
            bootstrap=f"{LOOPBACK}:{self._ports.kafka}", delivery_timeout=_PATIENCE
        )

    async def run(self) -> int:
        asked = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, asked.set)
        self._supervisor = Supervisor(
            run=self._paths.run, state=self._paths.state, pid=os.getpid(), clock=self._clock
        )
        starting = asyncio.create_task(self._start(), name="start")
        stopping = asyncio.create_task(asked.wait(), name="signal")
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        failure = await _outcome(starting)
        if failure is None:
            await stopping
        stopping.cancel()
        await self._stop(failure)
        return 0 if failure is None else 1

    async def _start(self) -> None:
        self._supervisor.enter(Phase.STARTING, "starting Kafka, Redis and the model server")
        await asyncio.gather(self._start_log(), self._supervisor.start(self._servers()))
        self._supervisor.enter(Phase.STARTING, "starting the services")
        await self._supervisor.start(self._services())
        ready_in_s = self._clock.monotonic() - self._began
        self._dev_json(ready_in_s).write(self._paths.dev_json)
        self._supervisor.enter(Phase.READY, f"ready in {ready_in_s:.1f} s")

    async def _stop(self, failure: BaseException | None) -> None:
        self._paths.dev_json.unlink(missing_ok=True)
        if failure is None:
            self._supervisor.enter(Phase.STOPPING)
        await self._supervisor.stop(services_s=_SERVICES_STOP_S, servers_s=_SERVERS_STOP_S)
        if failure is None:
            self._supervisor.enter(Phase.STOPPED)
        elif isinstance(failure, PenstockError):
            self._supervisor.enter(Phase.FAILED, str(failure))
        else:
            self._supervisor.enter(Phase.FAILED, f"{type(failure).__name__}: {failure}")
            raise failure

    async def _start_log(self) -> None:
        """Kafka, its topics, and the credentials of the development keys."""
        node = KafkaNode(
            data=self._data / "kafka",
            port=self._ports.kafka,
            controller_port=self._ports.kafka_controller,
        )
        log = self._paths.logs / "kafka-1.log"
        spec = await asyncio.to_thread(kafka_spec, node, log=log)
        await self._supervisor.start([Unit(number=1, spec=spec)])
        catalog = load_tasks(self._options.tasks)
        await ensure_topics(self._kafka, _small(catalog.topics(), self._options.partitions))
        producer = KafkaProducer(self._kafka)
        await producer.start()
        try:
            for key in self._secrets.keys.values():
                await producer.send(
                    credential_record(
                        key.record,
                        source="penstock/dev",
                        now=self._clock.now(),
                        event_id=str(uuid4()),
                    )
                )
        finally:
            await producer.stop()

    def _servers(self) -> list[Unit]:
        redis = redis_spec(
            data=self._data / "redis",
            port=self._ports.redis,
            log=self._paths.logs / "redis-1.log",
            keep=not self._options.ephemeral,
        )
        units = [Unit(number=1, spec=redis)]
        if self._options.providers is None:
            log = self._paths.logs / "model-server-1.log"
            spec = model_server_spec(port=self._ports.model_server, log=log)
            units.append(Unit(number=1, spec=spec))
        return units

    def _services(self) -> list[Unit]:
        return service_units(
            self._options,
            paths=self._paths,
            data=self._data,
            ports=self._ports,
            id_secret=self._secrets.id_secret,
            providers=self._options.providers
            or local_providers(self._paths.run / "providers.yaml", port=self._ports.model_server),
        )

    def _dev_json(self, ready_in_s: float) -> DevJson:
        ports = self._ports
        has_model_server = self._options.providers is None
        return DevJson(
            gateway=f"http://{LOOPBACK}:{ports.gateway}",
            notifier=f"ws://{LOOPBACK}:{ports.notifier}",
            kafka=f"{LOOPBACK}:{ports.kafka}",
            redis=f"redis://{LOOPBACK}:{ports.redis}/0",
            model_server=f"http://{LOOPBACK}:{ports.model_server}/v1" if has_model_server else None,
            tenant=DEV_TENANT,
            other_tenant=OTHER_TENANT,
            id_secret=self._secrets.id_secret,
            blobs=(self._data / "blobs").as_uri(),
            admin={name: f"http://{LOOPBACK}:{port}" for name, port in ports.admin.items()},
            options=self._options,
            ready_in_s=round(ready_in_s, 2),
            **{name: key.token for name, key in self._secrets.keys.items()},
        )


def _small(topics: Sequence[Topic], partitions: int) -> list[Topic]:
    """The topics with fewer partitions.

    Every fetch names each partition that its reader owns, which is what an idle broker is busy
    with; so the priorities and retries, where little goes through, get a quarter.
    """
    return [
        topic if topic.partitions == 1 else replace(topic, partitions=_count(topic, partitions))
        for topic in topics
    ]


def _count(topic: Topic, partitions: int) -> int:
    is_rare = topic.name.endswith((".high", ".low")) or topic.name.startswith("ai.retries.")
    return max(1, partitions // 4) if is_rare else partitions


async def _outcome(starting: asyncio.Task[None]) -> BaseException | None:
    """What went wrong while starting; a start that a signal interrupts is no failure."""
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
    return None if starting.cancelled() else starting.exception()


@contextmanager
def _only_one(paths: StackPaths) -> Iterator[None]:
    with paths.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackRunning(
                f"a stack runs already in {paths.root}", hint="stop it with `penstock dev down`"
            ) from None
        yield


@contextmanager
def _data_folder(options: StackOptions, paths: StackPaths) -> Iterator[Path]:
    if not options.ephemeral:
        paths.data.mkdir(exist_ok=True)
        yield paths.data
        return
    folder = Path(tempfile.mkdtemp(prefix="ephemeral-", dir=paths.root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
