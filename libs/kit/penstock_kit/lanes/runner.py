"""Keeps handlers at work, and wakes what waits in place for its next try."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import timedelta
from typing import Final

from penstock_kit.errors import Fatal
from penstock_kit.lanes.adapting import Adapting
from penstock_kit.lanes.fates import Fates
from penstock_kit.lanes.keys import Entry
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome
from penstock_kit.lanes.window import Window

__all__ = ["Handler", "Runner"]

Handler = Callable[[Delivery], Awaitable[Outcome]]

_AGAIN_SOON: Final = timedelta(milliseconds=100)
"""Shortest pause before another try, so that a handler that is always busy cannot spin."""


class Runner:
    """Keeps as many handlers at work as the window allows, one task each.

    Nothing here cancels a handler.
    """

    def __init__(
        self,
        *,
        window: Window,
        handler: Handler,
        fates: Fates,
        adapting: Adapting | None = None,
        on_fatal: Callable[[Fatal], None],
    ) -> None:
        self._window = window
        self._handler = handler
        self._fates = fates
        self._adapting = adapting
        self._on_fatal = on_fatal
        self._tasks: dict[Entry, asyncio.Task[None]] = {}
        self._timers: dict[Entry, asyncio.TimerHandle] = {}
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._is_closed = False
        self.is_open = False

    @property
    def resting(self) -> int:
        """Records that wait in place for their next try."""
        return len(self._timers)

    def pump(self) -> None:
        """Start what may start."""
        window = self._window
        while self.is_open and (entry := window.next()) is not None:
            self._is_idle.clear()
            self._tasks[entry] = asyncio.create_task(self._run(entry), name="lanes-handler")

    def withdraw(self, chosen: Collection[Entry]) -> list[Entry]:
        """Take out those of them that wait; keys that rested for their sake go on at once."""
        taken = self._window.withdraw(chosen)
        self._wake(taken)
        self.pump()
        return taken

    def judge_again(self) -> None:
        """A rule came or went: what it holds, and what rests and is dropped now, has its turn."""
        self._window.judge_again()
        self._wake([entry for entry in self._timers if self._window.is_dropped(entry)])
        self.pump()

    def finish_withdrawn(self, entry: Entry, outcome: Done | Dead) -> None:
        """End a record that `withdraw` took out."""
        self._is_idle.clear()
        self._tasks[entry] = asyncio.create_task(
            self._end_withdrawn(entry, outcome), name="lanes-withdrawn"
        )

    async def wait_idle(self) -> None:
        """Return when no handler is at work."""
        await self._is_idle.wait()

    def close(self) -> None:
        """Start nothing any more; records that wait for another try stay unfinished."""
        self.is_open = False
        self._is_closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def _run(self, entry: Entry) -> None:
        if not self._window.may_run():
            self._give_back(entry)
            return
        try:
            outcome: Outcome | Exception = entry.verdict or await self._handler(entry.delivery())
        except Exception as error:  # noqa: BLE001 - the edge of the loop: every error has a fate
            outcome = error
        except asyncio.CancelledError:
            self._window.abandon(entry)
            self._forget(entry)
            raise
        if self._adapting is not None:
            self._adapting.saw(entry, outcome)
        if isinstance(outcome, Done):
            self._fates.done()
            self._window.finish(entry)
            self._forget(entry)
        else:
            await self._settle(entry, outcome)
        self.pump()

    def _give_back(self, entry: Entry) -> None:
        # The process was stopped between the choice and the first step: somebody else may have it.
        if self._window.put_back(entry):
            self._window.release(entry.queue)
        self._forget(entry)

    async def _settle(self, entry: Entry, outcome: Outcome | Exception) -> None:
        try:
            pause = await self._fates.settle(entry, outcome)
            if pause is None:
                self._window.finish(entry)
            else:
                self._again_in(pause, entry)
        except asyncio.CancelledError:
            self._window.abandon(entry)
            raise
        except Exception as error:  # noqa: BLE001 - a record without a fate must not go unnoticed
            self._window.abandon(entry)
            self._die(error)
        finally:
            self._forget(entry)

    def _die(self, error: Exception) -> None:
        self.close()
        if not isinstance(error, Fatal):
            error = Fatal(f"the fate of a record could not be settled: {error!r}; it stays")
        self._on_fatal(error)

    def _again_in(self, pause: timedelta, entry: Entry) -> None:
        # Also while paused: the pause in place and that of the lanes end independently.
        if self._window.put_back(entry) and not self._is_closed:
            delay_s = max(pause, _AGAIN_SOON).total_seconds()
            loop = asyncio.get_running_loop()
            self._timers[entry] = loop.call_later(delay_s, self._try_again, entry)

    def _try_again(self, entry: Entry) -> None:
        del self._timers[entry]
        self._window.release(entry.queue)
        self.pump()

    def _wake(self, entries: Iterable[Entry]) -> None:
        """Release the keys of those that rest here; the caller pumps."""
        for entry in entries:
            timer = self._timers.pop(entry, None)
            if timer is not None:
                timer.cancel()
                self._window.release(entry.queue)

    async def _end_withdrawn(self, entry: Entry, outcome: Done | Dead) -> None:
        try:
            await self._fates.settle(entry, outcome)
            self._window.finish_withdrawn(entry)
        except Exception as error:  # noqa: BLE001 - the same
            self._die(error)
        finally:
            self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        self._tasks.pop(entry, None)
        if not self._tasks:
            self._is_idle.set()
