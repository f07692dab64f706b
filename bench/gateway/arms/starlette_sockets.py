"""Starlette on uvicorn as its guide shows: a set of sockets, one send each. `... PORT`."""

import asyncio
import contextlib
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

sockets = set()


async def hold(socket):
    await socket.accept()
    sockets.add(socket)
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        sockets.discard(socket)


async def relay():
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    async for line in lines:
        text = line.decode().rstrip("\n")
        for socket in tuple(sockets):
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await socket.send_text(text)


@contextlib.asynccontextmanager
async def lifespan(app):
    task = asyncio.create_task(relay())
    yield
    task.cancel()


async def health(request):
    return Response()


app = Starlette(
    routes=[Route("/healthz", health), WebSocketRoute("/socket", hold)], lifespan=lifespan
)

if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", loop="uvloop",
        ws="websockets-sansio", ws_per_message_deflate=False,
    )  # fmt: skip
