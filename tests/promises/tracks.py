"""Runs parts beside each other: whole machines of processes that wait more than they work."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from tests.promises.checker.verdict import Verdict, judged
from tests.promises.parts import Part

__all__ = ["Judged", "run_tracks", "to_the_end"]

_TRIES = 2


@dataclass(frozen=True, slots=True)
class Judged:
    """A part that is over, and what was found of it."""

    part: str
    verdicts: Sequence[Verdict]


def run_tracks(tracks: Sequence[Sequence[Part]]) -> list[Judged]:
    """The parts of a track one after the other, all tracks at once; in the order of the tracks."""
    busy = [track for track in tracks if track]
    with ThreadPoolExecutor(max(1, len(busy))) as threads:
        return [one for track in threads.map(_run_track, busy) for one in track]


def to_the_end(name: str, function: Callable[..., list[Verdict]], *given: Any) -> list[Verdict]:
    """The verdicts of a run in a process of its own; one that fails proves nothing, and says so.

    What the run starts dies with that process. One that is killed from outside is run once more.
    """
    for _ in range(_TRIES):
        with ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=hush_clients
        ) as pool:
            try:
                return pool.submit(_guarded, function, *given).result()
            except BrokenProcessPool:
                print(f"{name}: its process was killed", flush=True)
            except RuntimeError as error:
                return _fails(f"{name}: {error}")
    return _fails(f"{name}: its process was killed {_TRIES} times")


def hush_clients() -> None:
    """Brokers are killed on purpose here; the clients of the rig need not tell that."""
    for name in ("aiokafka", "penstock_kit.kafka.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _guarded(function: Callable[..., list[Verdict]], *given: Any) -> list[Verdict]:
    """Errors travel as text: not all of them can be unpickled."""
    try:
        return function(*given)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told and counts as broken
        traceback.print_exc()
        raise RuntimeError(f"{type(error).__name__}: {error}"[:200]) from None


def _fails(why: str) -> list[Verdict]:
    return [judged("P0", "the rig came to its end", "0 of 1", [why], of=1)]


def _run_track(track: Sequence[Part]) -> list[Judged]:
    return [Judged(part.title, to_the_end(part.title, part.run)) for part in track]
