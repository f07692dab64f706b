"""Whether lanes can do their work: the sentences for probes, and when only a restart helps."""

from __future__ import annotations

from penstock_kit.clock import Clock
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.lanes.poller import Poller

__all__ = ["LaneHealth"]


class LaneHealth:
    """Judges what the poll thread leaves behind; on the event loop, without waiting.

    Each fault that only shows as silence has its own sentence: the thread, the group, the brokers,
    the commits. The loop itself is watched from the poll thread (`loop_watch`).
    """

    def __init__(self, poller: Poller, *, policy: LanePolicy, clock: Clock, name: str) -> None:
        self._poller = poller
        self._clock = clock
        self._name = name
        self._unready_s = policy.stall_unready.total_seconds()
        self._fatal_s = policy.stall_fatal.total_seconds()
        self._frozen_round = -1.0

    @property
    def is_unheard(self) -> bool:
        """Whether brokers have been silent for so long that nothing can be written any more."""
        return self._poller.unheard_s(self._clock.monotonic()) > self._fatal_s

    def unready(self) -> str | None:
        """Why new work should stay away for now; None while all is well."""
        now, poller = self._clock.monotonic(), self._poller
        silence_s = now - poller.round_at
        if silence_s > self._unready_s:
            return f"the poll thread is silent for {silence_s:.0f} s; are the brokers there?"
        unheard_s = poller.unheard_s(now)
        if unheard_s > self._unready_s:
            return (
                f"no broker has answered for {unheard_s:.0f} s; look at the brokers and the "
                "network between"
            )
        if poller.is_doubtful:
            return (
                "the process was silent for longer than its session and the group has not "
                "confirmed its partitions yet; it goes on by itself"
            )
        refused_since = poller.commits.refused_since
        if refused_since is not None and now - refused_since > self._unready_s:
            return (
                f"the broker has taken no commit for {now - refused_since:.0f} s; see the log for "
                "its reason, finished work is repeated if the process dies now"
            )
        return None

    def beyond_repair(self) -> str | None:
        """Why the process must be restarted; to be asked about once a second."""
        now, poller = self._clock.monotonic(), self._poller
        silence_s = now - poller.round_at
        if silence_s > self._fatal_s:
            # A process that was stopped wakes up with a long silence: the thread gets a second.
            if poller.round_at == self._frozen_round:
                return (
                    f"the poll thread of {self._name!r} is silent for {silence_s:.0f} s; "
                    "the process must restart"
                )
            self._frozen_round = poller.round_at
            return None
        unheard_s = poller.unheard_s(now)
        if unheard_s > self._fatal_s:
            return (
                f"no broker has answered {self._name!r} for {unheard_s:.0f} s; the process must "
                "restart, with new connections"
            )
        if poller.is_doubtful and now - poller.awake_since > self._fatal_s:
            return (
                f"the group has not confirmed the partitions of {self._name!r} for "
                f"{now - poller.awake_since:.0f} s; the process must restart"
            )
        return None
