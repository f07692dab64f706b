"""taskiq on Redis streams; the result is polled for, as its client does, every 10 ms."""

import asyncio
import os
import sys

import uvloop
from asking import WORK_S, ask_in_loop, read_order
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

URL = os.environ["BENCH_REDIS"]
POLL_S = 0.01
"""Its default of 0.2 s would be most of the overhead."""

broker = (
    RedisStreamBroker(URL)
    .with_result_backend(RedisAsyncResultBackend(URL, result_ex_time=600))
    .with_serializer(ORJSONSerializer())
)


@broker.task(task_name="nap")
async def nap(number: int) -> int:
    await asyncio.sleep(WORK_S)
    return number + 1


async def main():
    await broker.startup()

    async def ask(number):
        task = await nap.kiq(number)
        return (await task.wait_result(check_interval=POLL_S, timeout=30)).return_value

    await ask_in_loop(read_order(), ask)
    await broker.shutdown()


if __name__ == "__main__" and sys.argv[1:2] == ["client"]:
    uvloop.run(main())
