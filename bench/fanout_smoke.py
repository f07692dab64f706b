"""How much one notifier can send: one event to many sockets, and what an idle socket costs.

`python -m bench.fanout_smoke [sockets] [events] [idle sockets]`. The server is a process of its own
with parts in memory; CPU seconds are those of that process alone.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import socket
import sys
from multiprocessing.connection import Connection
from time import process_time

import uvloop

from tests.support.events import an_event
from tests.support.sockets import a_world

UPGRADE = (
    b"GET /v1/socket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Authorization: Bearer key-acme-ann\r\n\r\n"
)
MASK = bytes(4)


def serve(pipe: Connection) -> None:
    """The server process: obeys `feed N`, `rss`, `stop`."""

    async def main() -> None:
        limits = {
            "max_connections": 50_000,
            "max_connections_per_tenant": 50_000,
            "max_connections_per_user": 50_000,
        }
        async with a_world(**limits) as world:
            job = world.issue()
            pipe.send((world.server.port, job))
            loop = asyncio.get_running_loop()
            world.live(an_event("started", "1-1", job=job))
            seq = 1
            while True:
                command, count = await loop.run_in_executor(None, pipe.recv)
                if command == "feed":
                    begun = process_time()
                    for _ in range(count):
                        seq += 1
                        world.live(an_event("delta", f"1-{seq}", job=job, text="some words here"))
                        await asyncio.sleep(0)
                    await asyncio.sleep(0.2)
                    pipe.send(process_time() - begun)
                elif command == "rss":
                    pipe.send(rss_bytes())
                else:
                    return

    uvloop.run(main())


def rss_bytes() -> int:
    """Resident memory of this process."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - /proc
        return int(file.read().split()[1]) * resource.getpagesize()


def connect(port: int, job: str | None) -> socket.socket:
    """A raw client: connected, authenticated, and following the job if there is one."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(UPGRADE)
    if job is not None:
        body = b'{"type":"subscribe","job":"%b"}' % job.encode()
        client.sendall(bytes([0x81, 0x80 | len(body)]) + MASK + body)
    return client


def drain(clients: list[socket.socket], stop: multiprocessing.synchronize.Event) -> int:
    """Read whatever comes until told to stop."""
    import selectors  # noqa: PLC0415 - the reader thread's own

    selector = selectors.DefaultSelector()
    for client in clients:
        client.setblocking(False)  # noqa: FBT003 - the standard library's
        selector.register(client, selectors.EVENT_READ)
    total = 0
    while not stop.is_set():
        for key, _ in selector.select(0.1):
            total += len(key.fileobj.recv(1 << 20))  # type: ignore[union-attr] # a socket
    return total


def main() -> None:
    """Measure and print."""
    sockets, events, idle = (
        int(sys.argv[at]) if len(sys.argv) > at else default
        for at, default in ((1, 1000), (2, 300), (3, 5000))
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=serve, args=(theirs,))
    server.start()
    port, job = ours.recv()
    ours.send(("rss", 0))
    before = ours.recv()
    quiet = [connect(port, None) for _ in range(min(idle, hard // 2))]
    for client in quiet:
        client.recv(4096)
    ours.send(("rss", 0))
    print(f"idle socket: {(ours.recv() - before) / len(quiet) / 1024:.1f} KiB of {len(quiet)}")
    for client in quiet:
        client.close()
    clients = [connect(port, job) for _ in range(sockets)]
    import threading  # noqa: PLC0415 - the reader's thread

    stop = multiprocessing.Event()
    reader = threading.Thread(target=drain, args=(clients, stop))
    reader.start()
    ours.send(("feed", 20))
    ours.recv()
    ours.send(("feed", events))
    spent = ours.recv()
    print(f"fan-out: {sockets * events / spent:,.0f} deliveries per server CPU second")
    stop.set()
    reader.join()
    ours.send(("stop", 0))
    server.join()


if __name__ == "__main__":
    main()
