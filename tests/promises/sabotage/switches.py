"""Every switch: what it breaks, which scenario shows it, and which promise must be seen broken.

A switch patches the classes of a service in its own process, before the service starts
(`tests.promises.launched`). The product holds no sabotage code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.promises.sabotage import in_gateway, in_lanes, in_ledger, in_streams

__all__ = ["SWITCHES", "Switch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One way to break the product.

    Attributes:
        scenario: what shows it, of `scenarios.SCENARIOS`.
        breaks: promises of which at least one must be reported broken.
        patch: changes the classes; called in each process of `services`. None: the load does it.
        hides: switches that would not show in the same run.
    """

    name: str
    about: str
    scenario: str
    breaks: tuple[str, ...]
    services: tuple[str, ...]
    patch: Callable[[], None] | None
    hides: tuple[str, ...] = ()

    def apply(self, module: str) -> None:
        """Break the process that is about to become `module`, if it is meant."""
        if self.patch is not None and module in self.services:
            self.patch()


_WORKER = ("llm_worker",)
_READERS = ("recorder", "gateway", "notifier")

_ALL = (
    Switch(
        name="commit-before-process",
        about="offsets pass when a record is read, not when it is finished",
        scenario="killed-worker",
        breaks=("P1",),
        services=_WORKER,
        patch=in_lanes.commit_before_process,
    ),
    Switch(
        name="commit-past-gap",
        about="the highest finished offset is committed, over unfinished ones",
        scenario="killed-worker",
        breaks=("P1",),
        services=_WORKER,
        patch=in_lanes.commit_past_gap,
    ),
    Switch(
        name="mark-before-result",
        about="the offset passes before the result is acknowledged",
        scenario="killed-worker",
        breaks=("P1",),
        services=_WORKER,
        patch=in_ledger.mark_before_result,
    ),
    Switch(
        name="no-ledger-end",
        about="whether a job has ended, or another record carries it, is not asked",
        scenario="calm",
        breaks=("P3",),
        services=_WORKER,
        patch=in_ledger.no_end,
    ),
    Switch(
        name="at-most-once-again",
        about="a job that may be charged once is called again after a crash",
        scenario="killed-worker",
        breaks=("P3b",),
        services=_WORKER,
        patch=in_ledger.no_unknown_outcome,
    ),
    Switch(
        name="no-lease",
        about="a job that another worker runs is run as well",
        scenario="joining-worker",
        breaks=("P3",),
        services=_WORKER,
        patch=in_ledger.no_lease,
    ),
    Switch(
        name="no-fence",
        about="the result of a worker that was frozen and replaced is taken",
        scenario="zombie",
        breaks=("P2", "P6"),
        services=_READERS,
        patch=in_ledger.no_fence,
    ),
    Switch(
        name="answer-before-ack",
        about="202 before the broker has the job",
        scenario="killed-gateway",
        breaks=("P1",),
        services=("gateway",),
        patch=in_gateway.answer_before_ack,
    ),
    Switch(
        name="random-job-ids",
        about="an Idempotency-Key lives in Redis only, the id is new with every send",
        scenario="calm",
        breaks=("P21",),
        services=("gateway",),
        patch=in_gateway.random_job_ids,
        hides=("no-ledger-end",),  # no two records carry the same job any more
    ),
    Switch(
        name="no-rebuild",
        about="Redis comes up empty and is called complete",
        scenario="emptied-redis",
        breaks=("P2", "P4"),
        services=("recorder",),
        patch=in_gateway.no_rebuild,
    ),
    Switch(
        name="reuse-seq",
        about="two deltas have the same place",
        scenario="calm",
        breaks=("P15",),
        services=_WORKER,
        patch=in_streams.reuse_seq,
    ),
    Switch(
        name="drop-delta",
        about="every fifth delta is left out silently",
        scenario="calm",
        breaks=("P15",),
        services=_WORKER,
        patch=in_streams.drop_delta,
    ),
    Switch(
        name="silent-gap",
        about="whoever resumes gets what comes next, without a snapshot or a word",
        scenario="calm",
        breaks=("P15",),
        services=("gateway", "notifier"),
        patch=in_streams.silent_gap,
    ),
    Switch(
        name="sdk-retries",
        about="the provider's client library tries again by itself",
        scenario="cut-provider",
        breaks=("P3",),
        services=_WORKER,
        patch=in_lanes.sdk_retries,
    ),
    Switch(
        name="default-partitioner",
        about="one producer places keys by CRC32",
        scenario="calm",
        breaks=("P9",),
        services=(),
        patch=None,
    ),
    Switch(
        name="early-retries",
        about="the pause before another attempt is ignored",
        scenario="calm",
        breaks=("P10",),
        services=_WORKER,
        patch=in_lanes.early_retries,
    ),
    Switch(
        name="no-dead-letters",
        about="what cannot be handled is dropped",
        scenario="calm",
        breaks=("P11",),
        services=_WORKER,
        patch=in_lanes.no_dead_letters,
    ),
    Switch(
        name="mangled-dead-letters",
        about="dead letters differ from their records in one byte",
        scenario="calm",
        breaks=("P11",),
        services=_WORKER,
        patch=in_lanes.mangled_dead_letters,
    ),
    Switch(
        name="no-fairness",
        about="tenants are not told apart when it is decided whose turn it is",
        scenario="two-tenants",
        breaks=("P12",),
        services=_WORKER,
        patch=in_lanes.no_fairness,
    ),
)

SWITCHES: Mapping[str, Switch] = {switch.name: switch for switch in _ALL}
