"""arq; both its polling pauses shortened from 0.5 s to 10 ms."""

import asyncio
import os
import sys

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import run_worker
from asking import WORK_S, ask_in_loop, read_order

REDIS = RedisSettings.from_dsn(os.environ["BENCH_REDIS"])
POLL_S = 0.01


async def nap(ctx, number):
    await asyncio.sleep(WORK_S)
    return number + 1


class Worker:
    functions = [nap]
    redis_settings = REDIS
    max_jobs = 200
    poll_delay = POLL_S
    keep_result = 600


async def main():
    pool = await create_pool(REDIS)

    async def ask(number):
        job = await pool.enqueue_job("nap", number)
        return await job.result(timeout=30, poll_delay=POLL_S)

    await ask_in_loop(read_order(), ask)
    await pool.aclose()


if __name__ == "__main__":
    if sys.argv[1] == "client":
        uvloop.run(main())
    else:
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        asyncio.set_event_loop(asyncio.new_event_loop())
        run_worker(Worker)
