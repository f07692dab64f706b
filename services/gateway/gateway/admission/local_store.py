"""Admissions in this process alone: what holds while Redis is away, and in tests."""

from __future__ import annotations

from collections import OrderedDict
from datetime import timedelta
from itertools import islice
from typing import Protocol

from penstock_kit.clock import Clock

from gateway.admission.rules import Quota
from gateway.admission.store import EXACT_UP_TO, SETTLE, SWEEP, Ask, Reply, Verdict, WindowState
from gateway.admission.windows import Window, make_window

__all__ = ["LocalAdmissions", "UnfinishedJobs"]

_MAX_WINDOWS = 20_000
_MAX_KEYS = 20_000
"""Owners and keys remembered; the one unused for longest makes room."""
_SWEPT_AT_ONCE = 16
"""As in Redis: a few that nobody has seen yet do not keep later ones from being forgotten."""


class UnfinishedJobs(Protocol):
    """What is known of accepted jobs that are not over."""

    def count(self, tenant: str) -> int:
        """Unfinished jobs of a tenant."""
        ...

    def knows(self, job: str) -> bool:
        """Whether the job was seen, so that `count` has or had it."""
        ...


class LocalAdmissions:
    """`AdmissionStore` in memory; bounded, forgets on restart."""

    def __init__(self, clock: Clock, unfinished: UnfinishedJobs) -> None:
        self._clock = clock
        self._unfinished = unfinished
        self._windows: OrderedDict[tuple[str, str, str, int, bool], Window] = OrderedDict()
        self._keys: OrderedDict[str, str] = OrderedDict()
        self._admitted: dict[str, dict[str, int]] = {}

    async def admit(self, ask: Ask) -> Reply:
        """See the port; never raises."""
        now_ms = self._now_ms()
        windows = [self._window(ask, quota) for quota in ask.quotas]
        looks = [window.look(now_ms) for window in windows]
        backlog = self._unfinished.count(ask.scope.tenant) + self._pending(ask.scope.tenant, now_ms)
        is_demoted = ask.noisy_from is not None and backlog >= ask.noisy_from
        blocked = _blocked(ask, looks)
        verdict = self._known(ask) or _verdict(ask, backlog, blocked, is_demoted=is_demoted)
        if verdict is Verdict.ADMITTED:
            self._take(ask, windows, now_ms)
            looks = [
                (used + 1, reset_ms if used else window.longest_ms)
                for (used, reset_ms), window in zip(looks, windows, strict=True)
            ]
        states = tuple(
            WindowState(max(0, quota.limit - used), reset_ms / 1000)
            for quota, (used, reset_ms) in zip(ask.quotas, looks, strict=True)
        )
        return Reply(
            verdict,
            states,
            blocked=blocked,
            backlog=backlog,
            is_demoted=is_demoted,
            at_ms=now_ms,
            is_local=True,
        )

    def settle(self, ask: Ask, reply: Reply) -> None:
        """See the port."""
        del reply
        self._admitted.get(ask.scope.tenant, {}).pop(ask.job, None)
        if ask.claim is not None:
            self._remember(_key(ask), f"a:{ask.claim.fingerprint}")

    async def refund(self, ask: Ask, reply: Reply) -> None:
        """See the port."""
        self._admitted.get(ask.scope.tenant, {}).pop(ask.job, None)
        if ask.claim is not None and self._keys.get(_key(ask)) == f"p:{ask.claim.fingerprint}":
            del self._keys[_key(ask)]
        for quota in ask.quotas:
            self._window(ask, quota).give_back(ask.job, reply.at_ms)

    def _known(self, ask: Ask) -> Verdict | None:
        found = None if ask.claim is None else self._keys.get(_key(ask))
        if found is None or ask.claim is None:
            return None
        if found[2:] != ask.claim.fingerprint:
            return Verdict.REUSED
        return Verdict.REPLAYED if found.startswith("a:") else Verdict.PENDING

    def _take(self, ask: Ask, windows: list[Window], now_ms: int) -> None:
        self._admitted.setdefault(ask.scope.tenant, {})[ask.job] = now_ms
        if ask.claim is not None:
            self._remember(_key(ask), f"p:{ask.claim.fingerprint}")
        for window in windows:
            window.take(ask.job, now_ms)

    def _pending(self, tenant: str, now_ms: int) -> int:
        """Admitted jobs that nobody has seen yet."""
        admitted = self._admitted.get(tenant)
        if admitted is None:
            return 0
        self._sweep(admitted, oldest_ms=now_ms - SETTLE // timedelta(milliseconds=1))
        if not admitted:
            del self._admitted[tenant]
        return len(admitted)

    def _sweep(self, admitted: dict[str, int], *, oldest_ms: int) -> None:
        """Forget jobs that are counted elsewhere, from the oldest on while there are any."""
        looked = kept = 0
        while looked < SWEEP:
            oldest = list(islice(admitted.items(), kept, kept + _SWEPT_AT_ONCE))
            over = [job for job, at in oldest if at < oldest_ms or self._unfinished.knows(job)]
            for job in over:
                del admitted[job]
            if not over:
                return
            looked += len(oldest)
            kept += len(oldest) - len(over)

    def _window(self, ask: Ask, quota: Quota) -> Window:
        window_ms = quota.window // timedelta(milliseconds=1)
        is_exact = quota.limit <= EXACT_UP_TO
        name = (ask.scope.tenant, quota.name, quota.owner, window_ms, is_exact)
        window = self._windows.get(name)
        if window is None:
            window = self._windows[name] = make_window(quota.limit, window_ms)
            if len(self._windows) > _MAX_WINDOWS:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(name)
        return window

    def _remember(self, name: str, note: str) -> None:
        self._keys[name] = note
        self._keys.move_to_end(name)
        if len(self._keys) > _MAX_KEYS:
            self._keys.popitem(last=False)

    def _now_ms(self) -> int:
        return int(self._clock.monotonic() * 1000)


def _verdict(ask: Ask, backlog: int, blocked: int, *, is_demoted: bool) -> Verdict:
    if blocked >= 0:
        return Verdict.LIMITED
    if backlog >= ask.backlog_limit:
        return Verdict.BACKLOG
    is_open = ask.is_low_open if is_demoted else ask.is_open
    return Verdict.ADMITTED if is_open else Verdict.CLOSED


def _blocked(ask: Ask, looks: list[tuple[int, int]]) -> int:
    """The used-up quota that stays so for longest, or -1."""
    full = [
        (reset_ms, -at)
        for at, (quota, (used, reset_ms)) in enumerate(zip(ask.quotas, looks, strict=True))
        if used >= quota.limit
    ]
    return -max(full)[1] if full else -1


def _key(ask: Ask) -> str:
    assert ask.claim is not None
    return ask.scope.idempotency_key(ask.claim.route, ask.claim.key)
