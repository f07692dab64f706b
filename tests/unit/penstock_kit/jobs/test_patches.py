from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from penstock_kit.errors import Rejected
from penstock_kit.jobs.facets import state_of
from penstock_kit.jobs.patches import patch_of_event, patch_of_request
from penstock_kit.kafka.ports import Record

from tests.support.job_records import (
    IDS,
    T0,
    delta,
    job_id,
    request_record,
    started,
    verified,
)

JOB = job_id(1)
GOOD = started(JOB)


def with_header(name: str, value: bytes | None) -> Record:
    headers = [(key, text) for key, text in GOOD.headers if key != name]
    return replace(GOOD, headers=headers if value is None else [*headers, (name, value)])


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (replace(GOOD, value=None), "not_a_cloudevent"),
        (replace(GOOD, value=b"{"), "malformed_json"),
        (replace(GOOD, value=b"[NaN]"), "malformed_json"),
        (replace(GOOD, value=b'{"type":"started"}'), "schema_mismatch"),
        (replace(GOOD, value=b'{"type":"nonsense"}'), "schema_mismatch"),
        (replace(GOOD, headers=()), "not_a_cloudevent"),
        (replace(GOOD, key=b"job_other"), "contradiction"),
        (with_header("ce_subject", job_id(2).encode()), "contradiction"),
        (with_header("ce_type", b"penstock.job.delta.v1"), "contradiction"),
        (with_header("ce_seq", b"9"), "contradiction"),
        (with_header("ce_tenant", None), "bad_identity"),
        (with_header("ce_tenant", b"a b"), "bad_identity"),
        (with_header("ce_user", b"a b"), "bad_identity"),
        (with_header("ce_tenant", b"rival"), "foreign_job"),
        (started("job_1"), "foreign_job"),
    ],
)
def test_event_that_is_malformed_or_forged_is_rejected(record: Record, code: str) -> None:
    with pytest.raises(Rejected) as rejected:
        patch_of_event(record, ids=IDS)

    assert rejected.value.code == code


def test_event_of_a_derived_job_belongs_to_the_tenant_that_it_names() -> None:
    job = "job_" + "a" * 32

    assert patch_of_event(delta(job, (1, 2), tenant="rival"), ids=IDS).tenant == "rival"


def test_request_with_limits_is_a_state_with_both() -> None:
    limits = {"deadline": T0 + timedelta(seconds=30), "ends_by": T0 + timedelta(seconds=60)}
    given: dict[str, Any] = {name: at.isoformat() for name, at in limits.items()}

    patch = patch_of_request(verified(request_record(JOB, **given)))

    state = state_of(patch.tenant, patch.job, patch.facets, with_output=False)
    assert state is not None
    assert {name: getattr(state, name) for name in limits} == limits
