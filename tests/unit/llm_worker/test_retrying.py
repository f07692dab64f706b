from __future__ import annotations

from datetime import timedelta

import pytest
from llm_worker.errors import BadAnswer, Permanent, ProviderFault, Transient
from llm_worker.provider_status import fault_of_status
from llm_worker.retrying import AttemptPlan, Next, dead_of, job_error
from penstock_kit.tasks import RetryPolicy

POLICY = RetryPolicy(attempts=4, base=timedelta(seconds=2), factor=3, cap=timedelta(seconds=15))


def transient(*, was_charged: bool = False, retry_after_s: float | None = None) -> Transient:
    return Transient(
        "the provider is away; the job is tried again",
        code="provider_failed",
        was_charged=was_charged,
        retry_after_s=retry_after_s,
        status=503,
    )


PERMANENT = Permanent("our key is refused", code="provider_auth_failed", was_charged=False)
BAD = BadAnswer("the answer is no JSON", code="answer_not_json", text="{")


def plan(
    *chain: str, policy: RetryPolicy = POLICY, at_most_once: bool = False, chance: float = 0.5
) -> AttemptPlan:
    return AttemptPlan(chain or ("a",), policy, at_most_once=at_most_once, random=lambda: chance)


@pytest.mark.parametrize(
    ("chance", "delays"), [(0.5, [2, 6, 15]), (0.0, [1, 3, 7.5]), (1.0, [3, 9, 15])]
)
def test_delays_grow_to_the_cap_with_half_of_them_chance(
    chance: float, delays: list[float]
) -> None:
    attempts = plan(chance=chance)

    following = [attempts.after(transient()) for _ in range(4)]

    assert following == [*(Next(delay, "retry") for delay in delays), None]


@pytest.mark.parametrize(
    ("asked_s", "delay_s"),
    [(0.5, 2), (9, 9), (900, 900), (1e9, 3600), (float("nan"), 2)],
    ids=["less", "more", "above-the-cap", "for-ever", "no-number"],
)
def test_delay_is_at_least_what_the_provider_asks_up_to_an_hour(
    asked_s: float, delay_s: float
) -> None:
    assert plan().after(transient(retry_after_s=asked_s)) == Next(delay_s, "retry")


def test_delay_when_the_power_is_astronomical_is_the_cap() -> None:
    attempts = plan(policy=RetryPolicy(attempts=50, factor=1e6, cap=timedelta(seconds=9)))

    delays = [attempts.after(transient()) for _ in range(49)]

    assert delays[-1] == Next(9, "retry")


def test_permanent_fault_goes_to_the_next_model_at_once() -> None:
    attempts = plan("a", "b")

    assert attempts.after(PERMANENT) == Next(0, "fallback")
    assert attempts.model == "b"
    assert attempts.after(PERMANENT) is None


def test_next_model_has_all_its_attempts() -> None:
    attempts = plan("a", "b", policy=POLICY.model_copy(update={"attempts": 2}))

    following = [attempts.after(transient()) for _ in range(4)]

    reasons = [entry.reason if entry else None for entry in following]
    assert reasons == ["retry", "fallback", "retry", None]


def test_plan_goes_on_where_an_earlier_delivery_left_it() -> None:
    policy = POLICY.model_copy(update={"attempts": 2})
    first = plan("a", "b", policy=policy)
    first.after(PERMANENT)
    first.after(BAD)
    first.after(transient())

    after = AttemptPlan(
        ("a", "b"), policy, at_most_once=False, random=lambda: 0.5, before=first.state
    )

    assert after.model == "b"
    assert after.after(BAD) is None
    assert after.after(transient()) is None


def test_plan_when_the_chain_became_shorter_takes_its_last_model() -> None:
    before = {"place": 3, "tries": 0, "repaired": False}

    after = AttemptPlan(("a",), POLICY, at_most_once=False, random=lambda: 0.5, before=before)

    assert after.model == "a"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (transient(), "failure"),
        (PERMANENT, "failure"),
        (Permanent("refused", code="provider_refused_request", was_charged=False), None),
        (BAD, None),
    ],
    ids=["used-up", "operators", "clients", "bad-answer"],
)
def test_dead_letter_is_for_what_no_client_can_mend(
    fault: Transient | Permanent | BadAnswer, reason: str | None
) -> None:
    dead = dead_of(fault, attempts=4)

    assert (dead.reason.value if dead else None) == reason
    assert dead is None or dead.attempts == 4


def test_bad_answer_is_repaired_once_per_job() -> None:
    attempts = plan()

    assert attempts.after(BAD) == Next(0, "repair")
    assert attempts.after(BAD) is None


@pytest.mark.parametrize(
    ("fault", "following"),
    [
        (transient(was_charged=True), None),
        (BAD, None),
        (transient(was_charged=False), Next(2, "retry")),
        *((fault_of_status("p", status, {}, {}), None) for status in (408, 500, 502, 504, 520)),
        *(
            (fault_of_status("p", status, {}, {}), Next(2, "retry"))
            for status in (409, 425, 429, 503, 529)
        ),
        *((fault_of_status("p", status, {}, {}), Next(0, "fallback")) for status in (401, 404)),
    ],
)
def test_at_most_once_when_a_call_may_have_been_charged_ends(
    fault: ProviderFault | BadAnswer, following: Next | None
) -> None:
    assert plan("a", "b", at_most_once=True).after(fault) == following


def test_job_error_says_what_can_be_done() -> None:
    passing, lasting, bad = job_error(transient()), job_error(PERMANENT), job_error(BAD)

    assert (passing.code, passing.retryable, passing.provider_status) == (
        "provider_failed",
        True,
        503,
    )
    assert (lasting.code, lasting.retryable) == ("provider_auth_failed", False)
    assert bad.message == (
        "the answer is no JSON; ask for a simpler shape, or choose another model"
    )
