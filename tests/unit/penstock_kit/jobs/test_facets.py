"""A job's records fold to the same state in any interleaving, with any repetition."""

from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st
from penstock_kit.jobs.facets import Facets, join, state_of
from penstock_kit.jobs.patches import JobPatch, patch_of_event, patch_of_request

from tests.support.job_records import (
    IDS,
    completed,
    delta,
    event_record,
    job_id,
    request_record,
    started,
    verified,
)

JOB = job_id(1)
ERROR = {"type": "server_error", "code": "overloaded", "message": "m"}


def a_life() -> list[JobPatch]:
    """A job with a retry, a zombie's second end, and its request twice."""
    retried = event_record(
        JOB, "retrying", (1, 3), offset=3, error=ERROR, delay_s=1.0, next_attempt=2
    )
    events = [
        event_record(JOB, "queued", (0, 1), offset=0, task="chat", user="ann"),
        started(JOB, 1, offset=1),
        delta(JOB, (1, 2), offset=2),
        retried,
        started(JOB, 2, offset=4, model="m2", crashes=1),
        event_record(JOB, "reset", (2, 2), offset=5, reason="retry"),
        completed(JOB, (2, 3), offset=6),
        event_record(JOB, "failed", (1, 4), offset=7, error=ERROR),
    ]
    requests = [request_record(JOB, offset=offset, metadata={"k": "v"}) for offset in (0, 1)]
    return [patch_of_request(verified(record)) for record in requests] + [
        patch_of_event(record, ids=IDS) for record in events
    ]


LIFE = a_life()


def folded(patches: list[JobPatch]) -> Facets:
    return reduce(join, (patch.facets for patch in patches), Facets())


@given(st.permutations(LIFE * 2))
def test_fold_of_any_interleaving_with_repetition_is_the_fold_in_order(
    shuffled: list[JobPatch],
) -> None:
    assert folded(shuffled) == folded(LIFE)


@given(st.lists(st.sampled_from(LIFE)), st.lists(st.sampled_from(LIFE)))
def test_join_is_commutative_and_idempotent(left: list[JobPatch], right: list[JobPatch]) -> None:
    one, other = folded(left), folded(right)

    assert join(one, other) == join(other, one)
    assert join(one, one) == one


def test_the_life_ends_as_completed_by_its_second_attempt() -> None:
    state = state_of("acme", JOB, folded(LIFE), with_output=True)

    assert state is not None
    assert (state.status, state.attempt, state.model) == ("completed", 2, "m2")
    assert state.error is None
    assert state.metadata == {"k": "v"}


def test_the_count_of_crashes_is_the_highest_that_a_start_told() -> None:
    blind = patch_of_event(started(JOB, 3, offset=8), ids=IDS)

    assert folded([*LIFE, blind]).crashes == folded(LIFE).crashes == 1


def test_the_state_is_unknown_while_only_output_was_seen() -> None:
    only_output = patch_of_event(delta(JOB, (1, 2)), ids=IDS)

    assert state_of("acme", JOB, only_output.facets, with_output=True) is None
