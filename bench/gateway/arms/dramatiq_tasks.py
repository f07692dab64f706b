"""dramatiq on Redis: work in threads, results in Redis, the caller blocks on its result."""

import os
import sys
import time

import dramatiq
from asking import WORK_S, ask_in_threads, read_order
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends.redis import RedisBackend

URL = os.environ["BENCH_REDIS"]
broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def nap(number):
    time.sleep(WORK_S)
    return number + 1


def main():
    def ask(number):
        return nap.send(number).get_result(block=True, timeout=30_000)

    ask_in_threads(read_order(), ask)


if __name__ == "__main__" and sys.argv[1:2] == ["client"]:
    main()
