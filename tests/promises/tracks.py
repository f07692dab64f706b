"""Runs parts beside each other: whole machines of processes that wait more than they work."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.promises.parts import Judged, Part

__all__ = ["own_processes", "run_tracks"]


def run_tracks(tracks: Sequence[Sequence[Part]]) -> list[Judged]:
    """The parts of a track one after the other, all tracks at once; in the order of the tracks."""
    busy = [track for track in tracks if track]
    if not busy:
        return []
    with own_processes(len(busy)) as pool:
        running = [pool.submit(_run_track, track) for track in busy]
        return [judged for track in running for judged in track.result()]


def own_processes(count: int) -> ProcessPoolExecutor:
    """Processes that start clean: what they start dies with them, and with nobody else."""
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=hush_clients)


def hush_clients() -> None:
    """Brokers are killed on purpose here; the clients of the rig need not tell that."""
    for name in ("aiokafka", "penstock_kit.kafka.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _run_track(track: Sequence[Part]) -> list[Judged]:
    return [part.run() for part in track]
