"""Reading a table that lags behind the log: the recorder folds within moments, or it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

__all__ = ["FOLD_PAUSES_S", "once_folded"]

FOLD_PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Between looks. A batch takes the recorder 60 ms, 160 in a busy moment; beyond the last look it is
away or restarts."""

Read = TypeVar("Read")


async def once_folded(
    read: Callable[[], Awaitable[Read]],
    is_settled: Callable[[Read], bool],
    *,
    pauses_s: Sequence[float] = FOLD_PAUSES_S,
) -> Read:
    """What `read` gives once it is settled, or what it gave last when the patience is over."""
    found = await read()
    for pause_s in pauses_s:
        if is_settled(found):
            break
        await asyncio.sleep(pause_s)
        found = await read()
    return found
