"""The sides of the fan-out: our notifier, and what sends one message to many sockets elsewhere."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import confluent_kafka
from penstock.dev.endpoints import DevJson
from penstock.dev.ports import PortPicker
from penstock_contracts.topics import EVENTS

from bench.environments import debian_programs, node_environment, python_environment
from bench.gateway.jobs import submitted_job
from bench.gateway.load import client_program
from bench.gateway.processes import NotStarted, answers, last_lines, process
from bench.gateway.proxies import ARMS, PEERS, provider_file, store_trees
from bench.stack import Stack, stack_on
from tests.support.events import an_event, as_record

__all__ = ["BROADCASTERS", "Broadcaster", "message", "notifier"]

_NOWHERE = "http://127.0.0.1:9/v1"
_SIZE = 300
"""Bytes of a message, as it goes over a socket, its frame header not counted."""
_PATIENCE_S = 30
_MANY = "20000"
_BUILT_IN = Path("/var/lib/nginx")
"""Compiled into Debian's nginx, which makes a folder there whatever its configuration says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcaster:
    """A running side: `publish` hands one event in; the other members are for the clients."""

    publish: Callable[[int], None]
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    protocol: str = ""
    first: str = ""
    ready: str = ""
    own: Mapping[str, int] = field(default_factory=dict)
    stores: Mapping[str, int] = field(default_factory=dict)


def message(number: int, *, size: int = _SIZE) -> str:
    """What every reader knows an event by: its number, and when it was handed in."""
    text = f"n={number};t={time.time_ns()};"
    return text + "." * (size - len(text))


@contextmanager
def notifier(folder: Path) -> Iterator[Broadcaster]:
    """Our notifier relays the events of one job out of Kafka; nobody works on the job."""
    with stack_on(
        folder / "stack",
        provider_file(folder, _NOWHERE),
        replicas="llm-worker=0,embedder=0",
        env={
            "PENSTOCK_NOTIFIER__MAX_CONNECTIONS_PER_TENANT": _MANY,
            "PENSTOCK_NOTIFIER__MAX_CONNECTIONS_PER_USER": _MANY,
        },
    ) as stack:
        job = submitted_job(stack)
        events = _Events(stack, job)
        try:
            yield Broadcaster(
                publish=events.publish,
                url=f"{stack.notifier}/v1/socket",
                headers={"authorization": f"Bearer {stack.api_key}"},
                protocol="penstock.v1.json",
                first=f'{{"type":"subscribe","job":"{job}"}}',
                ready='"subscribed"',
                own={"notifier": stack.pid("notifier")},
                stores=store_trees(stack),
            )
        finally:
            events.close()


class _Events:
    """Writes what a worker would write: one delta after another, their frames of one size."""

    def __init__(self, stack: Stack, job: str) -> None:
        found = DevJson.model_validate_json((stack.folder / "dev.json").read_bytes())
        self._tenant, self._job, self._seq = found.tenant, job, 0
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": found.kafka, "acks": "all", "linger.ms": 0, "log_level": 2}
        )
        self._write("started", "")

    def publish(self, number: int) -> None:
        """One event with the number."""
        around = len(an_event("delta", f"1-{self._seq + 1}", job=self._job).value)
        envelope = len(f'{{"type":"event","job":"{self._job}","attempt":1,"seq":{self._seq + 1},')
        self._write("delta", message(number, size=_SIZE - around - envelope - len('"event":}')))

    def close(self) -> None:
        """Everything is in the log."""
        self._producer.flush(10)

    def _write(self, kind: str, text: str) -> None:
        self._seq += 1
        event = an_event(
            kind, f"1-{self._seq}", job=self._job, tenant=self._tenant, user=None, text=text
        )
        record = as_record(event, topic=EVENTS.name)
        self._producer.produce(record.topic, record.value, record.key, headers=list(record.headers))
        self._producer.poll(0)


@contextmanager
def _peer(folder: Path, *, name: str, command: Callable[[int], list[str]]) -> Iterator[Broadcaster]:
    """A server that sends every line of its standard input to all sockets."""
    port = PortPicker().pick()
    log = folder / f"{name}.log"
    env = {"NODE_PATH": str(node_environment(PEERS / "node") / "node_modules")}
    with process(command(port), log=log, env=env, stdin=subprocess.PIPE) as running:
        _wait_until_up(running, port, log)
        assert running.stdin is not None
        pipe = running.stdin.fileno()
        yield Broadcaster(
            publish=lambda number: _all(pipe, f"{message(number)}\n".encode()),
            url=f"ws://127.0.0.1:{port}/socket",
            own={name: running.pid},
        )


@contextmanager
def _nchan(folder: Path) -> Iterator[Broadcaster]:
    """Nginx with the nchan module of Debian, unpacked beside, not installed."""
    root = debian_programs("nchan", ["nginx", "libnginx-mod-nchan"])
    try:
        _BUILT_IN.mkdir(parents=True, exist_ok=True)
    except PermissionError as error:
        raise NotStarted(f"nginx wants {_BUILT_IN} to exist: {error}") from error
    port = PortPicker().pick()
    config = folder / "nginx.conf"
    config.write_text(
        f"load_module {root}/usr/lib/nginx/modules/ngx_nchan_module.so;\n"
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;\n"
        f"events {{ worker_connections {_MANY}; }}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body;\n"
        f" proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n"
        f" uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n"
        f" server {{ listen 127.0.0.1:{port} backlog=4096;\n"
        "  location = /healthz { return 200; }\n"
        "  location = /publish { nchan_publisher; nchan_channel_id all;\n"
        "    nchan_message_buffer_length 10; }\n"
        "  location = /socket { nchan_subscriber websocket; nchan_channel_id all;\n"
        "    nchan_subscriber_first_message newest; } } }\n"
    )
    log = folder / "nchan.log"
    command = [str(root / "usr/sbin/nginx"), "-c", str(config), "-p", str(folder)]
    with process(command, log=log) as running:
        _wait_until_up(running, port, log)
        yield Broadcaster(
            publish=lambda number: _post(f"http://127.0.0.1:{port}/publish", message(number)),
            url=f"ws://127.0.0.1:{port}/socket",
            own={"nchan": running.pid},
        )


def _wait_until_up(running: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not answers(f"http://127.0.0.1:{port}/healthz"):
        if running.poll() is not None or time.monotonic() > deadline:
            raise NotStarted(f"{log.stem} did not come up: {last_lines(log)}")
        time.sleep(0.1)


def _all(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


def _post(url: str, text: str) -> None:
    with urllib.request.urlopen(url, data=text.encode(), timeout=10):  # noqa: S310 - loopback
        pass


def _python(script: str) -> Callable[[int], list[str]]:
    def command(port: int) -> list[str]:
        return [str(python_environment(PEERS / "sockets.txt")), str(ARMS / script), str(port)]

    return command


def _ws(port: int) -> list[str]:
    return ["node", str(ARMS / "ws_hub.cjs"), str(port)]


def _go(port: int) -> list[str]:
    return [str(client_program()), "hub", f'{{"port":"{port}"}}']


BROADCASTERS: Mapping[str, Callable[[Path], AbstractContextManager[Broadcaster]]] = {
    "penstock": notifier,
    "nchan": _nchan,
    "go-hub": partial(_peer, name="go-hub", command=_go),
    "ws": partial(_peer, name="ws", command=_ws),
    "websockets": partial(_peer, name="websockets", command=_python("websockets_broadcast.py")),
    "starlette": partial(_peer, name="starlette", command=_python("starlette_sockets.py")),
}
