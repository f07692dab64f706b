from __future__ import annotations

import hashlib
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st
from penstock_contracts.ids import JobIds, derived_job_id, is_job_id, may_come_again, new_uuid7

IDS = JobIds(secret=b"s" * 32)


def test_issued_id_is_known_for_its_tenant_only() -> None:
    job = IDS.issue(tenant="acme", uuid=uuid4())

    assert is_job_id(job)
    assert IDS.was_issued(job, tenant="acme")
    assert not IDS.was_issued(job, tenant="other")
    assert not JobIds(secret=b"t" * 32).was_issued(job, tenant="acme")


def test_derived_id_is_what_the_recipe_says() -> None:
    expected = hashlib.sha256(b"acme\n/orders\ne-1").hexdigest()[:32]

    job = derived_job_id(tenant="acme", source="/orders", event_id="e-1")

    assert job == f"job_{expected}"
    assert is_job_id(job)
    assert not IDS.was_issued(job, tenant="acme")


@given(st.text(max_size=60))
def test_was_issued_never_raises(text: str) -> None:
    assert not IDS.was_issued(text, tenant="acme")


def test_uuid_for_key_is_stable_and_bound_to_tenant_and_route() -> None:
    first = IDS.uuid_for_key(tenant="acme", route="/v1/jobs", key="k")

    assert first == IDS.uuid_for_key(tenant="acme", route="/v1/jobs", key="k")
    assert first != IDS.uuid_for_key(tenant="beta", route="/v1/jobs", key="k")
    assert first != IDS.uuid_for_key(tenant="acme", route="/v1/batches", key="k")
    assert first.version == 8


def test_uuid7_sorts_by_time() -> None:
    early, late = (new_uuid7(now_ms=ms, randomness=b"\xff" * 10) for ms in (1000, 1001))

    assert early < late
    assert early.version == 7


def test_only_an_id_that_follows_from_a_key_or_an_event_may_come_again() -> None:
    keyed = IDS.uuid_for_key(tenant="acme", route="/v1/jobs", key="k")
    fresh = new_uuid7(now_ms=1000, randomness=b"\xff" * 10)

    assert may_come_again(IDS.issue(tenant="acme", uuid=keyed))
    assert may_come_again(derived_job_id(tenant="acme", source="/orders", event_id="e-1"))
    assert not may_come_again(IDS.issue(tenant="acme", uuid=fresh))
