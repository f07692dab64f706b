"""What may be tuned about lanes: one immutable value."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from penstock_kit.lanes.backoff import Backoff
from penstock_kit.settings import STUCK_AFTER, BadSettings

__all__ = ["REVOKE_DEADLINE", "LanePolicy", "Order"]

REVOKE_DEADLINE = timedelta(seconds=5)
"""The default: long enough for most calls to end, well below every rebalance time-out."""

_MOST_IN_FLIGHT = 4096
"""More tasks than that cost more than they hide; start another process instead."""


class Order(StrEnum):
    """Which records wait for each other."""

    BY_KEY = "by_key"
    """Records of one key in one topic run one after another."""
    NONE = "none"
    """Every record runs as soon as there is room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePolicy:
    """How much at once, how long to wait, how often to try.

    Attributes:
        max_in_flight: handlers at work at the same time, 1 to 4096.
        adaptive: fewer than that while handlers take longer than usual, raise `Busy` or return a
            `Retry` with `is_overload`.
        tenant_in_flight: the same for one tenant; None: no bound of its own.
        window_records: records that may wait in memory, of all partitions together: within them
            tenants take turns. When it is full, partitions with more than their share are paused.
        queue_per_partition: records of one partition that may wait; then it is paused.
        window_bytes: bytes of all waiting records together; then the same as with records.
        span_cap: finished records that may lie beyond an unfinished one; then the partition is
            paused. What is finished there is noted beside the committed offset, so a crash does
            not repeat it; the cap bounds that note, and what is repeated where it got lost.
        revoke_deadline: how long a revocation waits for running handlers, below the rebalance
            time-out. Polling rests meanwhile; records already here go on.
        drain_timeout: how long `stop` waits for running handlers.
        drain_unheard: the same after brokers were silent for `stall_fatal`: what handlers would
            write then reaches nobody.
        attempts: how often a record whose handler raises is tried before it is dead-lettered as a
            failure.
        backoff: pauses between those tries.
        retry_records: records of retry topics that may wait in memory, of all partitions together;
            then each gets its share. What is beyond it in the log may be late, never early.
        retry_bytes: the same in bytes.
        dead_per_minute: so many dead letters within a minute stop the process, if more than half of
            all records end so: then the fault is hardly theirs.
        parked_for: how long a record that a rule holds waits in a retry topic, if it had to leave.
        weights: shares of high, default and low while all three have work.
        aging: who waits longer has one more turn in each round of the weights, whatever its
            priority.
        commit_interval: pause between commits; what finished in it is delivered again after a
            crash.
        session: silence of the poll thread after which the group may have given our partitions to
            somebody else: nothing starts and nothing is committed until the broker has confirmed
            that they are ours. At most the session time-out of the group.
        stall_unready: silence of the poll thread, of the event loop, of all brokers, or of answers
            to commits, after which the process is not ready.
        stall_fatal: silence of the poll thread, of the event loop or of all brokers after which the
            process must be restarted; with the drain on top it has ended within a minute.
    """

    max_in_flight: int = 256
    adaptive: bool = False
    tenant_in_flight: int | None = None
    window_records: int = 10_000
    queue_per_partition: int = 10_000
    window_bytes: int = 64 * 1024 * 1024
    span_cap: int = 4096
    order: Order = Order.BY_KEY
    revoke_deadline: timedelta = REVOKE_DEADLINE
    drain_timeout: timedelta = timedelta(seconds=20)
    drain_unheard: timedelta = timedelta(seconds=2)
    attempts: int = 5
    backoff: Backoff = field(default_factory=Backoff)
    retry_records: int = 20_000
    retry_bytes: int = 64 * 1024 * 1024
    dead_per_minute: int = 200
    parked_for: timedelta = timedelta(seconds=30)
    weights: tuple[int, int, int] = (6, 3, 1)
    aging: timedelta = timedelta(seconds=10)
    commit_interval: timedelta = timedelta(milliseconds=25)
    session: timedelta = timedelta(seconds=10)
    stall_unready: timedelta = STUCK_AFTER
    stall_fatal: timedelta = timedelta(seconds=40)

    def __post_init__(self) -> None:
        _require(
            1 <= self.max_in_flight <= _MOST_IN_FLIGHT,
            f"max_in_flight is {self.max_in_flight}; choose 1 to {_MOST_IN_FLIGHT}",
        )
        _require(
            min(
                self.queue_per_partition,
                self.window_records,
                self.span_cap,
                self.window_bytes,
                self.attempts,
                1 if self.tenant_in_flight is None else self.tenant_in_flight,
            )
            >= 1,
            "queue_per_partition, window_records, span_cap, window_bytes, attempts and "
            "tenant_in_flight must be at least 1",
        )
        _require(
            min(self.retry_records, self.retry_bytes, self.dead_per_minute) >= 1,
            "retry_records, retry_bytes and dead_per_minute must be at least 1",
        )
        _require(
            min(self.weights) >= 1, f"weights are {self.weights}; each priority needs at least 1"
        )
        _require(
            self.revoke_deadline < min(self.session, self.stall_unready)
            and self.stall_unready < self.stall_fatal,
            "revoke_deadline must be below session and stall_unready, and stall_unready below "
            "stall_fatal",
        )

    @property
    def suspect_span(self) -> int:
        """No record starts this far beyond the first one that is not known as committed.

        So only records in that window of a new assignment can have been begun by somebody else.
        """
        return self.span_cap + self.queue_per_partition


def _require(holds: bool, sentence: str) -> None:  # noqa: FBT001 - reads as a statement
    if not holds:
        raise BadSettings(f"the lanes cannot work like this: {sentence}")
