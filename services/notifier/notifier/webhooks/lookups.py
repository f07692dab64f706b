"""Look-ups of names in threads of their own, shared out so that no tenant has them all.

The system's resolver blocks, and where the servers of a name are silent it blocks for as long as it
has patience, though the delivery that asked has long given up. Such a name keeps waiting who wants
the same name or is the same tenant, and nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from weakref import WeakValueDictionary

__all__ = ["TENANT_LOOKUPS", "Lookup", "Lookups"]

Lookup = Callable[[str], Sequence[str]]
"""The addresses of a name; blocks. Raises `OSError` if there are none."""

TENANT_LOOKUPS: Final = 4
"""Names that are looked up for one tenant at the same time; a look-up that works takes
milliseconds."""
_THREADS: Final = 16 * TENANT_LOOKUPS
"""As many tenants as that have to misbehave together before others wait. Idle ones cost nothing but
their stacks, and they come into being only when they are needed."""


class Lookups:
    """Looks names up: each once at a time, and a few at a time for each tenant."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="webhook-dns")
        self._under_way: dict[str, asyncio.Future[Sequence[str]]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def addresses(self, host: str, *, tenant: str) -> Sequence[str]:
        """The addresses of a name, as they were told after the call or while it is under way.

        Who is cancelled leaves the look-up to others who wait for it; nothing is remembered beyond
        its end.

        Raises:
            OSError: the name does not resolve.
        """
        if host not in self._under_way:
            turn = self._turns.setdefault(tenant, asyncio.Semaphore(TENANT_LOOKUPS))
            await turn.acquire()
            if host in self._under_way:
                turn.release()
            else:
                self._begin(host, turn)
        return await asyncio.shield(self._under_way[host])

    def close(self) -> None:
        """Let the threads end; look-ups under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, host: str, turn: asyncio.Semaphore) -> None:
        def ended(asked: asyncio.Future[Sequence[str]]) -> None:
            del self._under_way[host]
            turn.release()
            if not asked.cancelled():
                asked.exception()  # else a failure that nobody waits for any more is complained of

        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(self._threads, self._lookup, host)
        self._under_way[host] = asked
        asked.add_done_callback(ended)
