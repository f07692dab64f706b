"""From a record of any topic to a patch of the job table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from penstock_contracts.catalog import CE_DELETED, CE_KEPT_REQUEST
from penstock_contracts.ids import JobIds
from penstock_contracts.topics import EVENTS, STATE

from penstock_kit.clock import Clock
from penstock_kit.errors import Rejected
from penstock_kit.intake import Intake
from penstock_kit.jobs.fold import FoldPolicy
from penstock_kit.jobs.lean_deltas import lean_delta_patch
from penstock_kit.jobs.patches import JobPatch, patch_of_deletion, patch_of_event, patch_of_request
from penstock_kit.jobs.request_records import patch_of_kept_request
from penstock_kit.jobs.state_records import patch_of_state
from penstock_kit.kafka.ports import Record

__all__ = ["JobRecords", "SkipNotice"]


_DELETED = CE_DELETED.encode()
_KEPT_REQUEST = CE_KEPT_REQUEST.encode()

SkipNotice = Callable[[Record, Rejected], None]
"""Hears of records that tell nothing; bad requests are dead-lettered by workers."""


class JobRecords:
    """Reads requests, events and states; what is forged or malformed never enters the table."""

    def __init__(
        self,
        *,
        intake: Intake,
        ids: JobIds,
        policy: FoldPolicy,
        clock: Clock,
        on_skip: SkipNotice = lambda _record, _error: None,
    ) -> None:
        self._intake = intake
        self._ids = ids
        self._policy = policy
        self._clock = clock
        self._on_skip = on_skip

    def patches(
        self, records: Iterable[Record], *, is_known: Callable[[Record], bool] | None = None
    ) -> list[JobPatch]:
        """What these records tell, in their order.

        `is_known` says by headers alone of which records nothing new is to be learned: they are not
        decoded.
        """
        now_ms = int(self._clock.now().timestamp() * 1000)
        replayed_from = now_ms - int(self._policy.replay_ttl.total_seconds() * 1000)
        kept_from = now_ms - int(self._policy.ttl.total_seconds() * 1000)
        found = []
        for record in records:
            if 0 <= record.timestamp_ms < kept_from or (is_known and is_known(record)):
                continue
            if record.value is None and record.topic == STATE.name:
                continue  # the tombstone of a kept request
            try:
                patch = self._patch(record)
            except Rejected as error:
                self._on_skip(record, error)
                continue
            if patch.events and 0 <= record.timestamp_ms < replayed_from:
                patch = replace(patch, events=())
            found.append(patch)
        return found

    def _patch(self, record: Record) -> JobPatch:
        if record.topic == EVENTS.name:
            if ("ce_type", _DELETED) in record.headers:
                return patch_of_deletion(record, ids=self._ids)
            lean = lean_delta_patch(record, ids=self._ids)
            return lean or patch_of_event(record, ids=self._ids)
        if record.topic == STATE.name:
            if ("ce_type", _KEPT_REQUEST) in record.headers:
                return patch_of_kept_request(record)
            return patch_of_state(record)
        return patch_of_request(self._intake.verify(record))
