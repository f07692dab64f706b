"""How the rig talks to its proxy."""

from __future__ import annotations

import asyncio
import json

from tests.promises.proxy.routes import Mode

__all__ = ["set_weather"]


async def set_weather(control: int, route: str, mode: Mode, *, delay_ms: float = 0.0) -> None:
    """Change what a route does; returns once the proxy has obeyed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", control)
    order = {"route": route, "mode": mode.value, "delay_ms": delay_ms}
    writer.write(json.dumps(order).encode() + b"\n")
    await reader.readline()
    writer.close()
