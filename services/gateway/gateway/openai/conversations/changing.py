"""Changes of conversations as jobs: written once, run between the turns, awaited here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from penstock_contracts.requests import TaskKind
from penstock_kit.auth.principal import Principal

from gateway.cancel import Canceller
from gateway.errors import ApiError
from gateway.mailbox import Closing
from gateway.openai.asking import Ask, Follow
from gateway.openai.ending import Ending
from gateway.openai.feed import is_end
from gateway.openai.running import Runner
from gateway.openai.under_way import Running, closed

__all__ = ["Asked", "Changer"]

_AFTER_CANCEL: Final = timedelta(seconds=5)
"""A worker that lives drops a waiting job within moments."""
_TOLD: Final = frozenset({"item_not_found", "conversation_not_found"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who changes what, by which request.

    Attributes:
        route: the path; scope of the Idempotency-Key.
        content: the decoded body, of which the key's fingerprint is taken.
        change: as `ConversationInput`; empty: only look.
    """

    principal: Principal
    conversation: str
    route: str
    change: dict[str, Any]
    key: str | None = None
    content: Any = None


class Changer:
    """Runs changes. One that has to wait too long behind a turn is called back."""

    def __init__(self, *, runner: Runner, canceller: Canceller, patience: timedelta) -> None:
        self._runner = runner
        self._canceller = canceller
        self._patience = patience

    async def run(self, asked: Asked) -> list[tuple[bytes, bytes]]:
        """Return once the log has the changed conversation; the headers of the answer.

        Raises:
            ApiError: whatever keeps jobs out; item_not_found or conversation_not_found;
                conversation_locked, where nothing was changed; still_running, where nobody knows.
        """
        ask = Ask(
            route=asked.route,
            prefix="job_",
            task=TaskKind.CONVERSATION.value,
            input=asked.change,
            model=None,
            conversation=asked.conversation,
            follow=Follow.END,
        )
        prepared = self._runner.prepare(asked.principal, ask, key=asked.key, content=asked.content)
        running = await self._runner.submit(prepared, ask)
        try:
            ending = await self._ended(running)
        finally:
            running.close()
        _check(ending)
        return running.headers()

    async def _ended(self, running: Running) -> Ending:
        ending = await _within(running, self._patience)
        if ending is None:
            self._canceller.cancel_soon(running.principal, running.job)
            ending = await _within(running, min(_AFTER_CANCEL, self._patience))
        if ending is None:
            message = (
                f"the change has neither been made nor called back in time; look at "
                f"/v1/jobs/{running.job} before you send it again"
            )
            raise ApiError("still_running", message, members={"job": running.job})
        if ending.status == "cancelled":
            message = (
                "Another response or change of this conversation runs; nothing was changed. "
                "Send the request again when it has ended."
            )
            raise ApiError(
                "conversation_locked", message, param="conversation_id", retry_after_s=2.0
            )
        return ending


async def _within(running: Running, patience: timedelta) -> Ending | None:
    loop = asyncio.get_running_loop()
    until = loop.time() + patience.total_seconds()
    try:
        while (left_s := until - loop.time()) > 0:
            items = await running.take(min(left_s, running.heartbeat_s))
            if items and is_end(items[-1]):
                return await running.ending_of(items[-1])
    except Closing as closing:
        raise closed(closing.reason, running.job) from None
    return None


def _check(ending: Ending) -> None:
    error = ending.error or {}
    if error.get("code") in _TOLD:
        raise ApiError(str(error["code"]), str(error.get("message")))
    ending.completed_output()
