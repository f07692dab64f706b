"""The floor of a proxy: takes the request, streams the provider's bytes back as they come.

`fastapi_passthrough.py PORT PROVIDER_URL`; no record, no retry, no resume.
"""

import contextlib
import sys

import aiohttp
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

PORT, PROVIDER = int(sys.argv[1]), sys.argv[2]


@contextlib.asynccontextmanager
async def lifespan(app):
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        app.state.session = session
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/chat/completions")
async def chat(request: Request):
    body = await request.body()
    response = await request.app.state.session.post(
        f"{PROVIDER}/chat/completions", data=body, headers={"content-type": "application/json"}
    )

    async def pieces():
        try:
            async for piece in response.content.iter_any():
                yield piece
        finally:
            response.release()

    return StreamingResponse(pieces(), status_code=response.status, media_type="text/event-stream")


@app.get("/healthz")
async def health():
    return {}


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False, loop="uvloop",
        http="httptools",
    )  # fmt: skip
