"""Clients that are slow, broken or hostile, beside one that is not."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.support.events import an_event
from tests.support.sockets import UPGRADE, World, a_world


async def test_reader_when_slow_then_closed_4408_and_others_are_served() -> None:
    async with a_world() as world, world.client() as slow, world.client() as quick:
        job = world.issue()
        for client in (slow, quick):
            await client.say(type="subscribe", job=job)
            await client.hear()
            await client.hear()
        slow.connection.transport.pause_reading()
        world.live(an_event("started", "1-1", job=job))
        assert (await quick.hear())["seq"] == 1
        for seq in range(2, 122):
            world.live(an_event("delta", f"1-{seq}", job=job, text="x" * 60_000))
            assert (await quick.hear())["seq"] == seq
        assert world.count("notifier_sockets_closed_total", reason="slow_consumer") == 1

        slow.connection.transport.resume_reading()
        heard: list[int] = []
        while (await next_of(slow.connection, heard)) is None:
            pass

        assert slow.connection.close_code == 4408
        assert heard == list(range(1, len(heard) + 1))


class SlowTransport:
    """A real transport whose client reads a little between two looks, then nothing more."""

    def __init__(self, transport: asyncio.Transport, sizes: list[int]) -> None:
        self._transport = transport
        self.sizes = sizes

    def get_write_buffer_size(self) -> int:
        return self.sizes.pop(0) if len(self.sizes) > 1 else self.sizes[0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def test_reader_when_slow_but_reading_then_closed_only_once_it_reads_nothing() -> None:
    async with a_world(send_timeout="PT0.02S") as world, world.client() as client:
        (wire,) = world.server._wires._wires
        transport = SlowTransport(wire._transport, [900, 700, 500, 300, 100])
        wire._transport = transport  # type: ignore[assignment]  # as far as a wire needs it
        wire.pause_writing()

        assert await next_of(client.connection, []) == 4408
        assert transport.sizes == [100]


async def next_of(connection: ClientConnection, heard: list[int]) -> int | None:
    """Take one event, or tell the code with which the connection has ended."""
    try:
        async with asyncio.timeout(20):
            heard.append(orjson.loads(await connection.recv())["seq"])
    except ConnectionClosed:
        return connection.close_code
    return None


async def test_reader_when_it_stands_still_then_closed_4408_after_the_deadline() -> None:
    async with a_world(send_timeout="PT0.2S", queue_frames=10_000) as world:
        async with world.client() as slow:
            job = world.issue()
            await slow.say(type="subscribe", job=job)
            await slow.hear()
            await slow.hear()
            slow.connection.transport.pause_reading()
            world.live(an_event("started", "1-1", job=job))
            for seq in range(2, 60):
                world.live(an_event("delta", f"1-{seq}", job=job, text="x" * 15_000))
            for seq in range(60, 90):
                world.live(an_event("delta", f"1-{seq}", job=job, text="x" * 100_000))
                await asyncio.sleep(0.02)
            slow.connection.transport.resume_reading()
            heard: list[int] = []
            while (await next_of(slow.connection, heard)) is None:
                pass

            assert slow.connection.close_code == 4408
        assert world.count("notifier_sockets_closed_total", reason="slow_consumer") == 1


async def test_resume_when_much_was_missed_then_all_of_it_and_live_events_behind() -> None:
    async with a_world() as world, world.client() as client:
        job = world.issue()
        world.live(*world.run(job, *["x" * 2_000] * 1_500))
        await client.say(type="subscribe", job=job, position={"attempt": 1, "seq": 1})
        subscribed = await client.hear()
        world.live(an_event("delta", "1-1502", job=job, text="live"))
        events = await client.hear_all_of("event", count=1_501)

    assert subscribed["recovered"] is True
    assert [event["seq"] for event in events] == list(range(2, 1_503))


async def test_garbage_when_sent_by_many_then_no_crash_and_others_are_served() -> None:
    chance = random.Random(11)
    async with a_world() as world, world.client() as bystander:
        for _ in range(120):
            await throw(world, chance)
        await bystander.say(type="ping")

        assert (await bystander.hear())["type"] == "pong"
        assert world.count("notifier_sockets_closed_total", reason="internal") == 0


async def throw(world: World, chance: random.Random) -> None:
    """Connect and send nonsense: before, instead of and after the handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.port)
    if chance.random() < 0.7:
        writer.write(UPGRADE)
    else:
        writer.write(UPGRADE[: chance.randint(1, len(UPGRADE))])
    for _ in range(chance.randint(1, 5)):
        writer.write(a_frame(chance) if chance.random() < 0.6 else chance.randbytes(200))
    writer.write_eof()
    try:
        async with asyncio.timeout(10):
            while await reader.read(65_536):
                pass
    except ConnectionError:
        pass
    finally:
        writer.close()


def a_frame(chance: random.Random) -> bytes:
    """A masked frame of any kind with a body that may be nearly right."""
    bodies = [
        b'{"type":"ping"}',
        b'{"type":"subscribe","all":true}',
        b'{"type":"subscribe","job":"' + bytes(chance.choices(range(256), k=20)) + b'"}',
        chance.randbytes(chance.randint(0, 120)),
        b"",
    ]
    body = chance.choice(bodies)[:125]
    mask = chance.randbytes(4)
    head = bytes([chance.choice([0x81, 0x01, 0x00, 0x80, 0x82, 0x88, 0x89, 0x8A, 0xF1])])
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
    return head + bytes([0x80 | len(body)]) + mask + masked


async def test_handshake_when_header_never_ends_then_no_harm_to_others() -> None:
    async with a_world() as world, world.client() as bystander:
        _, writer = await asyncio.open_connection("127.0.0.1", world.server.port)
        writer.write(b"GET /v1/socket HTTP/1.1\r\nX: " + b"y" * 200_000)
        await bystander.say(type="ping")

        assert (await bystander.hear())["type"] == "pong"
        writer.close()
