"""`python -m tests.support.fake_provider --port N --log FILE`: the server as its own process."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from tests.support.fake_provider.script import BadScript, Script
from tests.support.fake_provider.server import FakeProvider


def main() -> int:
    """Serve until SIGTERM or SIGINT; prints `ready <base_url>` once the port is bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--log", type=Path, help="JSONL call log, appended")
    parser.add_argument("--api-key", help="refuse other keys with 401")
    parser.add_argument(
        "--script", default="", help="directives of calls that bring none, e.g. tokens=50;rate=200"
    )
    arguments = parser.parse_args()
    try:
        defaults = Script().with_directives(arguments.script)
    except BadScript as error:
        parser.error(str(error))
    provider = FakeProvider(
        port=arguments.port, log=arguments.log, defaults=defaults, api_key=arguments.api_key
    )
    uvloop.run(_serve(provider))
    return 0


async def _serve(provider: FakeProvider) -> None:
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await provider.start()
    print(f"ready {provider.base_url}", flush=True)  # noqa: T201 - whoever starts us waits for this line
    await over.wait()
    await provider.stop()


if __name__ == "__main__":
    sys.exit(main())
