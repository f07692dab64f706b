"""What the clients of all task queues share: so many callers in a closed loop, and what is counted.

Only the standard library, because each runs in its peer's environment. Prints `begin`, `end` and
one line of JSON, as the compiled client does. An answer that is not the question plus one is wrong.
"""

import asyncio
import json
import sys
import threading
import time
from dataclasses import dataclass

WORK_S = 0.05


@dataclass(frozen=True)
class Order:
    """From the driver; `kafka` and `redis` are where the stores listen."""

    kafka: str
    redis: str
    callers: int
    warm_up_s: float
    seconds: float


def read_order():
    return Order(**json.loads(sys.argv[2]))


class _Counts:
    def __init__(self, order):
        self._order = order
        self.is_over = False
        self._is_measuring = False
        self._ms = []
        self._measured = 0
        self._failures = []
        self._number = 0
        self._lock = threading.Lock()

    def question(self):
        with self._lock:
            self._number += 1
            return self._number, self._is_measuring, time.perf_counter()

    def answered(self, asked, answer):
        question, counts, began = asked
        took = 1000 * (time.perf_counter() - began)
        with self._lock:
            if answer != question + 1:
                self._failures.append(repr(answer)[:200])
                return
            if counts:
                self._ms.append(took)
            if self._is_measuring:
                self._measured += 1

    def windows(self):
        """Yields how long to sleep until the next step."""
        yield self._order.warm_up_s
        self._is_measuring = True
        began = time.perf_counter()
        print("begin", flush=True)
        yield self._order.seconds
        self._is_measuring = False
        self._window_s = time.perf_counter() - began
        print("end", flush=True)
        self.is_over = True

    def tell(self):
        told = {
            "ms": self._ms, "measured": self._measured, "window_s": self._window_s,
            "failed": len(self._failures), "failures": self._failures[:5],
        }  # fmt: skip
        print(json.dumps(told), flush=True)


async def ask_in_loop(order, ask):
    """`ask(number)` is a coroutine function that returns the answer."""
    counts = _Counts(order)

    async def caller():
        while not counts.is_over:
            asked = counts.question()
            try:
                answer = await ask(asked[0])
            except Exception as error:
                answer = error
            counts.answered(asked, answer)

    first = counts.question()
    counts.answered(first, await asyncio.wait_for(ask(first[0]), 60))  # the worker is up
    callers = [asyncio.create_task(caller()) for _ in range(order.callers)]
    for pause_s in counts.windows():
        await asyncio.sleep(pause_s)
    await asyncio.wait(callers, timeout=30)
    counts.tell()


def ask_in_threads(order, ask):
    """`ask(number)` blocks."""
    counts = _Counts(order)

    def caller():
        while not counts.is_over:
            asked = counts.question()
            try:
                answer = ask(asked[0])
            except Exception as error:
                answer = error
            counts.answered(asked, answer)

    first = counts.question()
    counts.answered(first, ask(first[0]))
    callers = [threading.Thread(target=caller, daemon=True) for _ in range(order.callers)]
    for thread in callers:
        thread.start()
    for pause_s in counts.windows():
        time.sleep(pause_s)
    deadline = time.monotonic() + 30
    for thread in callers:
        thread.join(max(0.0, deadline - time.monotonic()))
    counts.tell()
