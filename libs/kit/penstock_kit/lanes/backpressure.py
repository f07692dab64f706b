"""Which partitions are not fetched from, because enough of them waits in memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from penstock_kit.kafka.ports import Consumer, TopicPartition
from penstock_kit.lanes.keys import Partition
from penstock_kit.lanes.pauses import full_partitions
from penstock_kit.lanes.policy import LanePolicy

__all__ = ["Backpressure"]

_GRACE_S: Final = 0.005
"""How long a full queue may drain before its partition is paused: pausing throws the client's
prefetched records away, which costs a round trip to the broker."""

_GRACE_STEP_S: Final = 0.0005


class Backpressure:
    """Pauses and resumes partitions of `owned`; on the poll thread.

    Attributes:
        paused: partitions that are not fetched from.
        is_held: nothing is fetched at all.
    """

    def __init__(
        self,
        consumer: Consumer,
        owned: Mapping[tuple[str, int], Partition],
        *,
        policy: LanePolicy,
    ) -> None:
        self._consumer = consumer
        self._owned = owned
        self._policy = policy
        self.paused: set[TopicPartition] = set()
        self.is_held = False

    def balance(self) -> None:
        """Pause what is full, resume what has drained to half."""
        deadline = time.monotonic() + _GRACE_S
        while True:
            wanted = self._wanted_pauses()
            if wanted <= self.paused or self.is_held or time.monotonic() >= deadline:
                break
            time.sleep(_GRACE_STEP_S)
        if full := wanted - self.paused:
            self._consumer.pause(sorted(full))
        if drained := self.paused - wanted:
            self._consumer.resume(sorted(drained))
        self.paused = wanted

    def _wanted_pauses(self) -> set[TopicPartition]:
        partitions = self._owned.values()
        if self.is_held:
            return {partition.place for partition in partitions}
        return full_partitions(partitions, self.paused, self._policy)
