"""Who may follow and call back what, where Redis or the recorder lag behind."""

from __future__ import annotations

from datetime import timedelta

import pytest
from notifier.access import Access, NoAccess
from penstock_contracts.ids import JobIds, derived_job_id, new_uuid7
from penstock_kit.tenancy import TenantScope

from tests.support.events import an_event
from tests.support.recording import Recording
from tests.support.virtual_loop import LoopClock, VirtualLoop, run_virtually

ANN = TenantScope("acme", "ann")
BOB = TenantScope("acme", "bob")
ACME = TenantScope("acme")
IDS = JobIds(b"a secret of tests, 32 bytes or more")
JOB_TTL = timedelta(days=30)


class Ring:
    """Implements `Owners`."""

    def __init__(self) -> None:
        self.known: dict[str, TenantScope] = {}

    def owner(self, tenant: str, job: str) -> TenantScope | None:
        owner = self.known.get(job)
        return owner if owner is not None and owner.tenant == tenant else None


class Place:
    """An `Access` with its surroundings, on a loop whose waits cost nothing."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.clock = LoopClock(self.loop)
        self.ring = Ring()
        self.table = Recording(ids=IDS)
        self.access = Access(
            owners=self.ring, table=self.table, ids=IDS, clock=self.clock, job_ttl=JOB_TTL
        )

    def issue(self, *, age: timedelta = timedelta()) -> str:
        at = self.clock.now() - age
        uuid = new_uuid7(now_ms=int(at.timestamp() * 1000), randomness=bytes(10))
        return IDS.issue(tenant="acme", uuid=uuid)

    def follow(self, scope: TenantScope, job: str) -> str:
        return self._answer(scope, job, is_cancel=False)

    def cancel(self, scope: TenantScope, job: str) -> str:
        return self._answer(scope, job, is_cancel=True)

    def _answer(self, scope: TenantScope, job: str, *, is_cancel: bool) -> str:
        check = self.access.check_cancel if is_cancel else self.access.check_follow
        try:
            run_virtually(check(scope, job), self.loop)
        except NoAccess as error:
            return error.code
        return "yes"


@pytest.fixture
def place() -> Place:
    return Place()


def test_cancel_when_only_the_id_speaks_then_not_for_a_user(place: Place) -> None:
    assert place.cancel(BOB, place.issue()) == "unavailable"


def test_cancel_when_redis_is_away_then_not_for_a_user(place: Place) -> None:
    place.table.is_away = True

    assert place.cancel(BOB, place.issue()) == "unavailable"


def test_cancel_when_only_the_id_speaks_then_yes_for_the_tenant(place: Place) -> None:
    assert place.cancel(ACME, place.issue()) == "yes"


@pytest.mark.parametrize(("scope", "answer"), [(ANN, "yes"), (BOB, "not_found")])
def test_cancel_when_job_is_folded_a_moment_later_then_by_its_owner_alone(
    place: Place, scope: TenantScope, answer: str
) -> None:
    job = place.issue()
    place.table.fold_at_read(3, an_event("started", "1-1", job=job, user="ann"))

    assert place.cancel(scope, job) == answer


def test_cancel_when_the_ring_knows_the_owner_then_redis_is_not_needed(place: Place) -> None:
    job = place.issue()
    place.ring.known[job] = ANN
    place.table.is_away = True

    assert place.cancel(ANN, job) == "yes"


def test_follow_when_job_was_just_accepted_then_its_id_speaks_for_it(place: Place) -> None:
    assert place.follow(ANN, place.issue()) == "yes"


def test_follow_when_redis_is_away_then_the_id_speaks_for_a_job(place: Place) -> None:
    place.table.is_away = True

    assert place.follow(ANN, place.issue()) == "yes"


@pytest.mark.parametrize(("is_away", "answer"), [(False, "not_found"), (True, "unavailable")])
def test_follow_when_table_has_forgotten_the_job_then_it_is_not_queued(
    place: Place, *, is_away: bool, answer: str
) -> None:
    job = place.issue(age=JOB_TTL + timedelta(seconds=1))
    place.table.is_away = is_away

    assert place.follow(ANN, job) == answer


@pytest.mark.parametrize(("is_away", "answer"), [(False, "not_found"), (True, "unavailable")])
def test_follow_when_another_service_named_the_job_then_only_the_table_tells(
    place: Place, *, is_away: bool, answer: str
) -> None:
    place.table.is_away = is_away

    assert place.follow(ANN, derived_job_id(tenant="acme", source="app", event_id="1")) == answer


def test_follow_when_id_is_of_another_tenant_then_not_found_also_without_redis(
    place: Place,
) -> None:
    place.table.is_away = True

    assert place.follow(TenantScope("evil", "eve"), place.issue()) == "not_found"
