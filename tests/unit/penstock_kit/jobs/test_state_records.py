from __future__ import annotations

import pytest
from penstock_contracts.codec import decode_model
from penstock_contracts.state import JobState
from penstock_kit.errors import Rejected
from penstock_kit.jobs.facets import Facets, join, state_of
from penstock_kit.jobs.fold import Changed
from penstock_kit.jobs.patches import patch_of_event, patch_of_request
from penstock_kit.jobs.state_records import patch_of_state, state_record
from penstock_kit.kafka.ports import Record

from tests.support.job_records import (
    IDS,
    T0,
    completed,
    job_id,
    request_record,
    started,
    verified,
)

JOB = job_id(1)


def facets(*, is_over: bool) -> Facets:
    known = join(
        patch_of_request(verified(request_record(JOB, metadata={"k": "v"}))).facets,
        patch_of_event(started(JOB, crashes=2), ids=IDS).facets,
    )
    if not is_over:
        return known
    return join(known, patch_of_event(completed(JOB, (1, 2), "ünï", offset=5), ids=IDS).facets)


def read_back(known: Facets) -> Record:
    out = state_record(Changed("acme", JOB, 3, known), now=T0)
    return Record(out.topic, 0, 17, out.key, out.value, out.headers)


@pytest.mark.parametrize("is_over", [False, True])
def test_state_record_when_read_back_tells_the_same(is_over: bool) -> None:
    known = facets(is_over=is_over)

    patch = patch_of_state(read_back(known))

    assert (patch.tenant, patch.job, patch.state_offset) == ("acme", JOB, 17)
    again, before = patch.facets, known
    assert (again.meta, again.progress, again.started_ms, again.crashes) == (
        before.meta,
        before.progress,
        before.started_ms,
        2,
    )
    assert state_of("acme", JOB, again, with_output=True) == state_of(
        "acme", JOB, before, with_output=True
    )


def test_state_record_has_the_state_as_others_read_it() -> None:
    record = read_back(facets(is_over=True))

    assert record.value is not None
    assert decode_model(JobState, record.value) == state_of(
        "acme", JOB, facets(is_over=True), with_output=True
    )


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"{}"])
def test_patch_of_state_from_a_stranger_is_rejected(value: bytes | None) -> None:
    with pytest.raises(Rejected):
        patch_of_state(Record("ai.jobs.state.v1", 0, 0, b"k", value))
