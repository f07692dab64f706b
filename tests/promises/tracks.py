"""Runs parts beside each other: whole machines of processes that wait more than they work."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from tests.promises.checker.verdict import Verdict, judged
from tests.promises.parts import Part

__all__ = ["Judged", "own_processes", "run_tracks", "to_the_end"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A part that is over, and what was found of it."""

    part: str
    verdicts: Sequence[Verdict]


def run_tracks(tracks: Sequence[Sequence[Part]]) -> list[Judged]:
    """The parts of a track one after the other, all tracks at once; in the order of the tracks."""
    busy = [track for track in tracks if track]
    if not busy:
        return []
    with own_processes(len(busy)) as pool:
        running = [pool.submit(_run_track, track) for track in busy]
        return [one for track in running for one in track.result()]


def own_processes(count: int) -> ProcessPoolExecutor:
    """Processes that start clean: what they start dies with them, and with nobody else."""
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=hush_clients)


def hush_clients() -> None:
    """Brokers are killed on purpose here; the clients of the rig need not tell that."""
    for name in ("aiokafka", "penstock_kit.kafka.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def to_the_end(name: str, run: Callable[[], list[Verdict]]) -> list[Verdict]:
    """The verdicts of a run; one that fails to come to its end proves nothing, and says so."""
    try:
        return run()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told and counts as broken
        traceback.print_exc()
        why = f"{name}: {type(error).__name__}: {str(error).splitlines()[:1]}"
        return [judged("P0", "the rig came to its end", "0 of 1", [why], of=1)]


def _run_track(track: Sequence[Part]) -> list[Judged]:
    return [Judged(part.title, to_the_end(part.title, part.run)) for part in track]
