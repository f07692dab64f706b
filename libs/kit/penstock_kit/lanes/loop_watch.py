"""The poll thread's eye on the event loop: a loop that is stuck cannot say so itself."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Final

import structlog

from penstock_kit.lanes.policy import LanePolicy

__all__ = ["LoopWatch"]

log = structlog.get_logger(__name__)

_ASK_EVERY_S: Final = 1.0
_OWN_ABSENCE_S: Final = 1.0
"""Longer gaps between two looks are the poll thread's own: a revocation, or a stopped process."""

_FRAMES: Final = 12
"""Innermost frames of the loop's thread in the log: they name what blocks it."""

_EXIT_STATUS: Final = 1


class LoopWatch:
    """Asks the loop for a sign of life; all methods but `start` run on the poll thread.

    Args:
        exit_process: called with the exit status when the loop has been stuck too long. Nothing
            else can end the process then: whatever stops it in order runs on that loop.
    """

    def __init__(
        self, policy: LanePolicy, name: str, exit_process: Callable[[int], object] = os._exit
    ) -> None:
        self._unready_s = policy.stall_unready.total_seconds()
        self._fatal_s = policy.stall_fatal.total_seconds()
        self._name = name
        self._exit_process = exit_process
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self._asked_at = self._looked_at = 0.0
        self._is_asked = self._is_told = False
        self.stuck_s = 0.0

    def start(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """Begin; runs on the loop."""
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._asked_at = self._looked_at = now

    def look(self, now: float) -> None:
        """Once per round of the poll thread."""
        absence_s = now - self._looked_at
        self._looked_at = now
        if absence_s > _OWN_ABSENCE_S:
            self._asked_at += absence_s
        if not self._is_asked:
            self.stuck_s = 0.0
            self._is_told = False
            if now - self._asked_at >= _ASK_EVERY_S:
                self._ask(now)
            return
        self.stuck_s = now - self._asked_at
        if self.stuck_s > self._unready_s and not self._is_told:
            self._is_told = True
            self._tell("lanes.loop_stuck")
        if self.stuck_s > self._fatal_s:
            try:
                self._tell("lanes.loop_dead")
            finally:
                self._exit_process(_EXIT_STATUS)

    def _ask(self, now: float) -> None:
        self._asked_at = now
        self._is_asked = True
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._answer)
        except RuntimeError:  # the loop is closed: the process is at its end
            self._is_asked = False

    def _answer(self) -> None:
        self._is_asked = False

    def _tell(self, event: str) -> None:
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - the documented way to another thread's stack
        stack = traceback.extract_stack(frame)[-_FRAMES:] if frame is not None else []
        log.critical(
            event,
            lanes=self._name,
            stuck_s=round(self.stuck_s, 1),
            frames=[f"{one.filename}:{one.lineno} {one.name}" for one in stack],
        )
