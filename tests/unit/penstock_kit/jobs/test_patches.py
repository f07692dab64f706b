from __future__ import annotations

from dataclasses import replace

import pytest
from penstock_kit.errors import Rejected
from penstock_kit.jobs.patches import patch_of_event
from penstock_kit.kafka.ports import Record

from tests.support.job_records import IDS, delta, job_id, started

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
