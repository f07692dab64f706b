"""What every Python arm shares: the order it got, and what it writes down of each message.

Only the standard library, because each peer runs in an environment of its own. A message's value
begins with `<IIB`: key number, place within the key from 0, 1 if the message is slow.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import time
from array import array
from dataclasses import dataclass

__all__ = ["Order", "Recording", "read_order", "wait_for_go"]

HEAD = struct.Struct("<IIB")
LINE = struct.Struct("<BIIQ")
"""Of the journal: 0 begun or 1 ended, key, place, nanoseconds."""


@dataclass(frozen=True)
class Order:
    """What the driver asks for. Times in seconds; `journal` is set where the arm will be killed."""

    bootstrap: str
    topic: str
    group: str
    count: int
    work_s: float
    slow_s: float
    concurrency: int
    out: str
    journal: str | None
    go: str | None
    """A file whose appearance means: join the group now."""


def read_order() -> Order:
    """The order in the first argument."""
    return Order(**json.loads(sys.argv[1]))


async def wait_for_go(order: Order) -> None:
    """Have everything imported and warm, and join only when the driver says so."""
    while order.go is not None and not os.path.exists(order.go):  # noqa: ASYNC110, ASYNC240, PTH110 - another process makes it
        await asyncio.sleep(0.01)


class Recording:
    """Times of every message. `is_over` once `count` have ended."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._keys = array("I")
        self._places = array("I")
        self._begun = array("Q")
        self._ended = array("Q")
        self._journal = (
            os.open(order.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            if order.journal
            else None
        )
        self._first_cpu_s = 0.0
        self.begun = 0
        self.ended = 0

    def begin(self, value: bytes) -> tuple[int, float]:
        """Note a start; a handle for `end`, and how long this message works."""
        key, place, slow = HEAD.unpack_from(value)
        index = self.begun
        if not index:
            self._first_cpu_s = time.process_time()
        self.begun = index + 1
        now = time.monotonic_ns()
        self._keys.append(key)
        self._places.append(place)
        self._begun.append(now)
        self._ended.append(0)
        if self._journal is not None:
            os.write(self._journal, LINE.pack(0, key, place, now))
        return index, self._order.slow_s if slow else self._order.work_s

    def end(self, index: int) -> bool:
        """Note the end; True at the last."""
        now = time.monotonic_ns()
        self._ended[index] = now
        if self._journal is not None:
            os.write(self._journal, LINE.pack(1, self._keys[index], self._places[index], now))
        self.ended += 1
        return self.ended == self._order.count

    @property
    def is_over(self) -> bool:
        """Whether as many have ended as were ordered."""
        return self.ended >= self._order.count

    def save(self) -> None:
        """Write the times, and what the process used since its first message."""
        cpu_s = time.process_time() - self._first_cpu_s
        usage = {
            "cpu_s": cpu_s,
            "peak_rss_kib": _peak_rss_kib(),
            "messages": self.begun,
        }
        with open(self._order.out, "wb") as file:  # noqa: PTH123 - no imports beyond what is needed
            head = json.dumps(usage).encode()
            file.write(struct.pack("<I", len(head)) + head)
            for column in (self._keys, self._places, self._begun, self._ended):
                column.tofile(file)


def _peak_rss_kib() -> int:
    """Most memory since exec; `ru_maxrss` would begin with what the driver held when it forked."""
    with open("/proc/self/status") as status:  # noqa: PTH123 - no imports beyond what is needed
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0
