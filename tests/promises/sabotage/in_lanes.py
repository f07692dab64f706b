"""Breaks in the consumer engine: commits, dead letters, retries, fairness."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.promises.sabotage.patching import patch, without_line

__all__ = [
    "commit_before_process",
    "commit_past_gap",
    "early_retries",
    "mangled_dead_letters",
    "no_dead_letters",
    "no_fairness",
    "sdk_retries",
]


def commit_before_process() -> None:
    """What is read counts as finished."""
    from penstock_kit.lanes.tracker import OffsetTracker  # noqa: PLC0415 - only if switched on

    begin = OffsetTracker.begin

    def begin_and_pass(self: Any, slot: Any) -> None:
        begin(self, slot)
        self.position = max(self.position, self.end)

    def keep(self: Any, slot: Any) -> None:
        slot.is_finished = True
        while self._slots and self._slots[0].is_finished:
            self._slots.popleft()

    patch(OffsetTracker, "begin", begin_and_pass)
    patch(OffsetTracker, "finish", keep)


def commit_past_gap() -> None:
    """The position jumps to the highest finished record."""
    from penstock_kit.lanes.tracker import OffsetTracker  # noqa: PLC0415 - only if switched on

    def jump(self: Any, slot: Any) -> None:
        slot.is_finished = True
        self.position = max(self.position, slot.offset + 1)
        while self._slots and self._slots[0].is_finished:
            self._slots.popleft()

    patch(OffsetTracker, "finish", jump)


def no_dead_letters() -> None:
    """Nothing is written, the record is gone."""
    from penstock_kit.lanes.dead_letters import DeadLetters  # noqa: PLC0415 - only if switched on

    async def drop(self: Any, *_: Any, **__: Any) -> None:
        del self

    patch(DeadLetters, "write", drop)


def mangled_dead_letters() -> None:
    """One byte more."""
    from penstock_kit.lanes.dead_letters import DeadLetters  # noqa: PLC0415 - only if switched on

    write = DeadLetters.write

    async def mangle(self: Any, record: Any, *rest: Any, **named: Any) -> Any:
        changed = replace(record, value=(record.value or b"") + b" ")
        return await write(self, changed, *rest, **named)

    patch(DeadLetters, "write", mangle)


def sdk_retries() -> None:
    """What SDKs do by default: two hidden retries of a call that broke."""
    from llm_worker.errors import Transient  # noqa: PLC0415 - only if switched on
    from llm_worker.openai_provider import OpenAIProvider  # noqa: PLC0415 - only if switched on

    once = OpenAIProvider._open

    async def eager(self: Any, call: Any) -> Any:
        for _ in range(2):
            try:
                return await once(self, call)
            except Transient as error:
                if error.code != "provider_unreachable":
                    raise
                await asyncio.sleep(0.5)
        return await once(self, call)

    patch(OpenAIProvider, "_open", eager)


def early_retries() -> None:
    """No pause, neither in a retry topic nor in the ledger; what is said to clients stays."""
    from penstock_kit.lanes import outcomes  # noqa: PLC0415 - only if switched on

    make = outcomes.Retry.__init__

    def at_once(self: Any, *rest: Any, **named: Any) -> None:
        make(self, *rest, **{**named, "after": timedelta(0), "in_place": True})

    patch(outcomes.Retry, "__init__", at_once)
    without_line("begin", r"^if due > now.*$")


def no_fairness() -> None:
    """All tenants are one."""
    from penstock_kit.lanes.tenants import Shares  # noqa: PLC0415 - only if switched on

    of = Shares.of

    def anybody(self: Any, tenant: str | None) -> Any:
        del tenant
        return of(self, "anybody")

    patch(Shares, "of", anybody)
