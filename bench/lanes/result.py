"""What an arm did, read from its recording, and whether it did it right."""

from __future__ import annotations

import json
import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Event", "Result", "Times", "count_breaks", "read_journal", "read_result"]

_LINE = struct.Struct("<BIIQ")
_HEAD = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Times:
    """One message at work; nanoseconds of the monotonic clock, `ended` 0 if it never did."""

    key: int
    place: int
    begun: int
    ended: int


@dataclass(frozen=True, slots=True)
class Result:
    """A run: its messages in the order in which they began, and what the process used."""

    times: Sequence[Times]
    head: dict[str, Any]

    @property
    def wall_s(self) -> float:
        """From the first begin to the last end."""
        return (max(t.ended for t in self.times) - min(t.begun for t in self.times)) / 1e9

    @property
    def rate(self) -> float:
        """Messages per second."""
        return len(self.times) / self.wall_s

    @property
    def cpu_us(self) -> float:
        """CPU of the whole process per message, from its first message on."""
        return 1e6 * float(self.head["cpu_s"]) / len(self.times)

    @property
    def peak_rss_mb(self) -> float:
        """Most memory that the process held."""
        return float(self.head["peak_rss_kib"]) * 1024 / 1e6

    @property
    def distinct(self) -> int:
        """Different messages that ended."""
        return len({(t.key, t.place) for t in self.times if t.ended})

    @property
    def breaks(self) -> int:
        """Successors that began before their predecessor had ended."""
        return count_breaks(events_of(self.times))


Event = tuple[int, int, int, int]
"""(nanoseconds, 0 ended or 1 begun, key, place): sorts ends before begins of the same moment."""


def events_of(times: Iterable[Times]) -> Iterator[Event]:
    """Begins and ends, unsorted."""
    for t in times:
        yield (t.begun, 1, t.key, t.place)
        if t.ended:
            yield (t.ended, 0, t.key, t.place)


def count_breaks(events: Iterable[Event]) -> int:
    """How many messages began before the one before them in their key had ended, ever."""
    ended: set[tuple[int, int]] = set()
    broken: set[tuple[int, int]] = set()
    for _, kind, key, place in sorted(events):
        if kind == 0:
            ended.add((key, place))
        elif place > 0 and (key, place - 1) not in ended:
            broken.add((key, place))
    return len(broken)


def read_result(path: Path) -> Result:
    """A recording as `arms/recording.py` and `Arm.java` write it."""
    data = path.read_bytes()
    (size,) = _HEAD.unpack_from(data)
    head = json.loads(data[4 : 4 + size])
    count, at = int(head["messages"]), 4 + size
    columns = []
    for code in ("I", "I", "Q", "Q"):
        column = array(code)
        end = at + count * column.itemsize
        column.frombytes(data[at:end])
        columns.append(column)
        at = end
    return Result([Times(*row) for row in zip(*columns, strict=True)], head)


def read_journal(path: Path) -> list[Event]:
    """What a killed arm had written down; a torn last line is left out."""
    data = path.read_bytes() if path.exists() else b""
    whole = data[: len(data) - len(data) % _LINE.size]
    return [(at, 1 - kind, key, place) for kind, key, place, at in _LINE.iter_unpack(whole)]


def repeats(events: Iterable[Event]) -> int:
    """Messages that ended more than once."""
    ends = Counter((key, place) for _, kind, key, place in events if kind == 0)
    return sum(count - 1 for count in ends.values())
