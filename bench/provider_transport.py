"""Which transport and parser carry many provider streams at the least CPU: figures of an ADR.

`PYTHONPATH=. python bench/provider_transport.py [--streams 250] [--tokens 200]` starts the fake
provider as its own process, runs each variant in a fresh process, prints CPU per chunk and the
lateness of first tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import orjson
import uvloop
from openai._base_client import DefaultAioHttpClient

VARIANTS = ("httpx2 sdk-parser", "httpx2 lean", "aiohttp sdk-parser", "aiohttp lean")
BODY = {
    "model": "fake",
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": [{"role": "user", "content": "go"}],
}


async def lean(client: openai.AsyncOpenAI, body: dict[str, Any]) -> AsyncIterator[str]:
    """SSE lines through orjson."""
    response: Any = await client.post(
        "/chat/completions",
        cast_to=httpx2.Response,
        body=body,
        stream=True,
        stream_cls=openai.AsyncStream[Any],
    )
    rest = b""
    async for data in response.aiter_raw():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                chunk = orjson.loads(line[6:])
                for choice in chunk["choices"]:
                    yield choice["delta"].get("content") or ""
    await response.aclose()


async def sdk(client: openai.AsyncOpenAI, body: dict[str, Any]) -> AsyncIterator[str]:
    """The SDK's own parser and models."""
    async for chunk in await client.chat.completions.create(**body):
        for choice in chunk.choices:
            yield choice.delta.content or ""


async def measure(variant: str, *, base_url: str, streams: int, tokens: int) -> dict[str, float]:
    """Run all streams at once; CPU seconds and first-token times."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=streams)
    cls = DefaultAioHttpClient if variant.startswith("aiohttp") else httpx2.AsyncClient
    http = cls(limits=limits, follow_redirects=False, timeout=60)
    client = openai.AsyncOpenAI(api_key="x", base_url=base_url, max_retries=0, http_client=http)
    read = sdk if variant.endswith("sdk-parser") else lean
    firsts: list[float] = []
    chunks = 0

    async def one(body: dict[str, Any]) -> None:
        nonlocal chunks
        begun = time.perf_counter()
        is_first = True
        async for text in read(client, body):
            chunks += 1
            if text and is_first:
                firsts.append(time.perf_counter() - begun)
                is_first = False

    warm = {**BODY, "model": "fake:tokens=2"}
    await asyncio.gather(*(one(warm) for _ in range(streams)))
    firsts.clear()
    chunks = 0
    body = {**BODY, "model": f"fake:tokens={tokens}"}
    cpu, begun = time.process_time(), time.perf_counter()

    async def staggered(index: int) -> None:
        await asyncio.sleep(index * 1.0 / streams)
        await one(body)

    await asyncio.gather(*(staggered(index) for index in range(streams)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - begun
    await client.close()
    firsts.sort()
    late = [(first - 0.020) * 1000 for first in firsts]
    return {
        "cpu_us_per_chunk": cpu / chunks * 1e6,
        "first_token_late_p50_ms": late[len(late) // 2],
        "first_token_late_p99_ms": late[int(len(late) * 0.99)],
        "cores": cpu / wall,
        "wall_s": wall,
    }


def main() -> None:
    """Run every variant, or the one that a child process was started for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=250)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--variant")
    parser.add_argument("--base-url")
    arguments = parser.parse_args()
    if arguments.variant:
        result = uvloop.run(
            measure(
                arguments.variant,
                base_url=arguments.base_url,
                streams=arguments.streams,
                tokens=arguments.tokens,
            )
        )
        print(json.dumps(result))
        return
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.fake_provider"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        base_url = server.stdout.readline().split()[1]
        for variant in VARIANTS:
            command = [sys.executable, __file__, "--variant", variant, "--base-url", base_url]
            command += ["--streams", str(arguments.streams), "--tokens", str(arguments.tokens)]
            result = json.loads(subprocess.check_output(command, text=True))
            figures = "  ".join(f"{name} {value:8.2f}" for name, value in result.items())
            print(f"{variant:20} {figures}")
        server.terminate()


if __name__ == "__main__":
    main()
