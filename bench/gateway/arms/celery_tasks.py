"""Celery on Redis with gevent workers; acknowledged late, so that a killed worker loses nothing."""

import os
import sys
import time

from asking import WORK_S, ask_in_threads, read_order
from celery import Celery

URL = os.environ["BENCH_REDIS"]
app = Celery("celery_tasks", broker=URL, backend=URL)
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=2,
    task_serializer="json",
    result_expires=600,
    redis_max_connections=400,
    broker_pool_limit=None,
    worker_hijack_root_logger=False,
)


@app.task(name="nap")
def nap(number):
    time.sleep(WORK_S)
    return number + 1


def main():
    def ask(number):
        return nap.delay(number).get(timeout=30, interval=0.01)

    ask_in_threads(read_order(), ask)


if __name__ == "__main__" and sys.argv[1:2] == ["client"]:
    main()
