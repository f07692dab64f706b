"""`websockets.broadcast`: every line of standard input goes to all sockets. `... PORT`."""

import asyncio
import http
import sys

import uvloop
from websockets.asyncio.server import broadcast, serve


async def main(port):
    sockets = set()

    async def hold(socket):
        sockets.add(socket)
        try:
            await socket.wait_closed()
        finally:
            sockets.discard(socket)

    def health(connection, request):
        return connection.respond(http.HTTPStatus.OK, "") if request.path == "/healthz" else None

    async with serve(hold, "127.0.0.1", port, compression=None, process_request=health):
        lines = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(lines)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        async for line in lines:
            broadcast(sockets, line.decode().rstrip("\n"))


uvloop.run(main(int(sys.argv[1])))
