"""Which partitions have enough in memory. Pure: the poll thread asks every round."""

from __future__ import annotations

from collections.abc import Collection

from penstock_kit.kafka.ports import TopicPartition
from penstock_kit.lanes.keys import Partition
from penstock_kit.lanes.policy import LanePolicy

__all__ = ["full_partitions"]


def full_partitions(
    partitions: Collection[Partition], paused: Collection[TopicPartition], policy: LanePolicy
) -> set[TopicPartition]:
    """Those that are not to be read now; what is paused stays so until it has drained to half.

    Requests and retries have a window each: neither keeps the other from being read.
    """
    return _full_requests([p for p in partitions if not p.is_retry], paused, policy) | (
        _full_retries([p for p in partitions if p.is_retry], paused, policy)
    )


def _full_requests(
    partitions: Collection[Partition], paused: Collection[TopicPartition], policy: LanePolicy
) -> set[TopicPartition]:
    depth_limit, bytes_limit = _shares(partitions, policy, part=2 if paused else 1)
    wanted = set()
    for partition in partitions:
        share = 2 if partition.place in paused else 1
        if (
            partition.depth * share > depth_limit
            or partition.depth_bytes * share > bytes_limit
            or partition.tracker.beyond_gap * share > policy.span_cap
        ):
            wanted.add(partition.place)
    return wanted


def _shares(partitions: Collection[Partition], policy: LanePolicy, *, part: int) -> tuple[int, int]:
    """How much may wait of one partition.

    While the window is full, no more than its share of it: who has less is fetched from.
    """
    depth_limit, bytes_limit = policy.queue_per_partition, policy.window_bytes
    if sum(partition.depth for partition in partitions) * part > policy.window_records:
        depth_limit = min(depth_limit, policy.window_records // len(partitions))
    if sum(partition.depth_bytes for partition in partitions) * part > policy.window_bytes:
        bytes_limit = policy.window_bytes // len(partitions)
    return depth_limit, bytes_limit


def _full_retries(
    partitions: Collection[Partition], paused: Collection[TopicPartition], policy: LanePolicy
) -> set[TopicPartition]:
    """A share each, whatever the others have: long waits must not keep short ones from being read.

    Finished records beyond a waiting one are many here by nature, and weigh next to nothing.
    """
    wanted = set()
    for partition in partitions:
        share = len(partitions) * (2 if partition.place in paused else 1)
        if (
            partition.depth * share > policy.retry_records
            or partition.depth_bytes * share > policy.retry_bytes
            or partition.tracker.beyond_gap > policy.retry_records
        ):
            wanted.add(partition.place)
    return wanted
