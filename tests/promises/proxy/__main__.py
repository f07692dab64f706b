"""`python -m tests.promises.proxy CONTROL_PORT name:port:target...`: serve until SIGTERM.

Control: one JSON object per line, `{"route": "redis", "mode": "delay", "delay_ms": 300}`.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import uvloop

from tests.promises.proxy.routes import Mode, Route


def main() -> None:
    """Read the command line and serve."""
    control = int(sys.argv[1])
    given = [text.split(":") for text in sys.argv[2:]]
    routes = {name: Route(name, int(port), int(target)) for name, port, target in given}
    uvloop.run(_serve(control, routes))


async def _serve(control: int, routes: dict[str, Route]) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    for route in routes.values():
        await route.start()

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            order = json.loads(line)
            route = routes[order["route"]]
            route.set_mode(Mode(order["mode"]), delay_ms=order.get("delay_ms", 0.0))
            writer.write(b"ok\n")
        writer.close()

    server = await asyncio.start_server(obey, "127.0.0.1", control)
    await over.wait()
    server.close()


if __name__ == "__main__":
    main()
