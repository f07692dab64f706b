"""The bound of all backlogs while many jobs ask at once, and the store takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from gateway.admission.admit import Admission, Candidate
from gateway.admission.rules import BacklogBounds, LimitBook
from gateway.admission.store import Ask, KeyClaim, Reply, Verdict
from gateway.admission.wiring import AdmissionDesk
from gateway.errors import ApiError
from penstock_contracts.credentials import Scope
from penstock_contracts.requests import Priority
from penstock_kit.auth.principal import Principal
from penstock_kit.jobs.view import TableAway
from penstock_kit.kafka.lag import GroupLag
from penstock_kit.tasks import TaskCatalog
from penstock_kit.telemetry.metrics import Metrics

from tests.support.clock import HandClock
from tests.support.waiting import until

ANN = Principal("acme", "ann", Scope.USER, "key")


class SlowStore:
    """Answers nobody before the gate opens; then all alike."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.answer: Callable[[Ask], Reply] = lambda _: Reply(Verdict.ADMITTED)
        self.asked = 0

    async def admit(self, ask: Ask) -> Reply:
        self.asked += 1
        await self.gate.wait()
        return self.answer(ask)

    def settle(self, ask: Ask, reply: Reply) -> None:
        """Keeps nothing."""

    async def refund(self, ask: Ask, reply: Reply) -> None:
        """Keeps nothing."""


class Door:
    """Admission with room for `room` more jobs than the broker told of."""

    def __init__(self, *, room: int, is_told: bool = True) -> None:
        self.clock = HandClock()
        self.store = SlowStore()
        self.desk = AdmissionDesk(
            TaskCatalog.builtin(), gateways=1, metrics=Metrics(), clock=self.clock
        )
        told = 90 if is_told else 0
        if is_told:
            self.tell(told)
        self.admission: Admission = self.desk.admission(
            self.store,
            book=LimitBook(backlog=BacklogBounds(total=told + room)),
            chance=lambda: 0.0,
        )

    def tell(self, jobs: int) -> None:
        records = {"llm-worker": {"ai.chat.requests.v1": jobs}}
        self.desk.backlog.see(GroupLag(self.clock.monotonic(), records))

    def ask(self, number: int, claim: KeyClaim | None = None) -> asyncio.Task[object]:
        candidate = Candidate(
            job=f"job_{number}",
            principal=ANN,
            task="chat",
            priority=Priority.DEFAULT,
            claim=claim,
        )
        return asyncio.create_task(self.admission.admit(candidate))

    async def ask_at_once(self, count: int) -> list[asyncio.Task[object]]:
        """Ask, and return when all were refused or wait for the store."""
        tasks = [self.ask(number) for number in range(count)]
        await until(lambda: self.store.asked + sum(task.done() for task in tasks) == count)
        return tasks


def refusals(found: list[object]) -> list[str]:
    return [error.kind.code for error in found if isinstance(error, ApiError)]


@pytest.mark.parametrize("is_told", [True, False])
async def test_admit_when_many_ask_at_once_lets_no_more_in_than_there_is_room(
    *, is_told: bool
) -> None:
    door = Door(room=10, is_told=is_told)

    tasks = await door.ask_at_once(40)
    door.store.gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)

    assert refusals(found) == ["backlog_full"] * 30
    assert door.store.asked == 10


async def test_admit_when_the_store_refuses_gives_the_place_back() -> None:
    door = Door(room=1)
    door.store.answer = lambda _: Reply(Verdict.BACKLOG)
    (refused,) = await door.ask_at_once(1)
    assert door.desk.backlog.total == 91

    door.store.gate.set()
    await asyncio.wait({refused})

    assert refusals([refused.exception()]) == ["tenant_backlog_full"]
    assert door.desk.backlog.total == 90


async def test_admit_when_the_store_fails_or_the_caller_leaves_gives_the_place_back() -> None:
    def away(_: Ask) -> Reply:
        raise TableAway("away")

    door = Door(room=2)
    door.store.answer = away
    failing, leaving = await door.ask_at_once(2)
    assert door.desk.backlog.total == 92

    leaving.cancel()
    door.store.gate.set()
    await asyncio.wait({failing, leaving})

    assert door.desk.backlog.total == 90


async def test_admit_when_an_answer_comes_meanwhile_still_counts_who_waits() -> None:
    door = Door(room=5)
    waiting = await door.ask_at_once(5)

    door.clock.advance(timedelta(seconds=1))
    door.tell(90)

    assert door.desk.backlog.total == 95
    door.store.gate.set()
    await asyncio.gather(*waiting)
    assert door.desk.backlog.total == 95


async def test_admit_when_only_a_replay_may_pass_takes_no_place() -> None:
    door = Door(room=0)
    door.store.answer = lambda _: Reply(Verdict.REPLAYED)

    replay = door.ask(1, KeyClaim("jobs", "order", "one"))
    await until(lambda: door.store.asked == 1)

    assert door.desk.backlog.total == 90
    door.store.gate.set()
    await replay


async def test_refund_gives_the_place_in_the_backlog_back() -> None:
    door = Door(room=3)
    door.store.gate.set()
    candidate = Candidate(job="job", principal=ANN, task="chat", priority=Priority.DEFAULT)
    admitted = await door.admission.admit(candidate)
    assert door.desk.backlog.total == 91

    await door.admission.refund(admitted)
    await door.admission.refund(admitted)

    assert door.desk.backlog.total == 90
