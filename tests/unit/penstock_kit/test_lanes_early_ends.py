"""Records taken out before their turn: handled until they have ended, whatever gets in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

from penstock_contracts.dead import DeadReason
from penstock_kit.errors import Busy, Rejected
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.early_ends import EarlyEnds
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome, Retry

from tests.support.waiting import until


class Waiting:
    """The lanes, as a list of records."""

    def __init__(self, count: int) -> None:
        self._records = [Record("t", 0, offset, b"k", b"v", ()) for offset in range(count)]
        self.finished: dict[int, Done | Dead] = {}

    async def withdraw(self, match: Callable[[Record], bool]) -> list[Delivery]:
        taken = [record for record in self._records if match(record)]
        self._records = [record for record in self._records if record not in taken]
        return [Delivery(record, 1, is_suspect=False) for record in taken]

    def finish(self, delivery: Delivery, outcome: Done | Dead) -> None:
        self.finished[delivery.record.offset] = outcome


class Handler:
    """Says one thing after the other; an exception is raised. Keeps what it was asked."""

    def __init__(self, says: Sequence[Outcome | Exception]) -> None:
        self._says = list(says)
        self.asked: list[Delivery] = []

    async def __call__(self, delivery: Delivery) -> Outcome:
        self.asked.append(delivery)
        said = self._says.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


def everything(_record: Record) -> bool:
    return True


async def ended(*says: Outcome | Exception) -> tuple[Done | Dead, list[Delivery]]:
    waiting, handler = Waiting(1), Handler(says)
    ends = EarlyEnds(waiting, handler)
    await ends.end(everything)
    await until(lambda: 0 in waiting.finished)
    await ends.stop()
    return waiting.finished[0], handler.asked


async def test_end_when_the_handler_is_done_then_the_record_is() -> None:
    outcome, asked = await ended(Done())

    assert outcome == Done()
    assert len(asked) == 1


async def test_end_when_the_handler_refuses_then_the_record_is_poison() -> None:
    outcome, _ = await ended(Rejected("not ours", code="bad_signature"))

    assert outcome == Dead(DeadReason.POISON, "bad_signature", "not ours")


async def test_end_when_a_dependency_is_away_then_it_is_asked_again_and_no_failure_counts() -> None:
    outcome, asked = await ended(Busy("Redis is away", retry_after_s=0.001), Done())

    assert outcome == Done()
    assert [delivery.failures for delivery in asked] == [0, 0]


async def test_end_when_the_reason_went_away_then_the_record_waits_here() -> None:
    outcome, asked = await ended(
        Retry(after=timedelta(milliseconds=1), code="away", detail="d"), Done()
    )

    assert outcome == Done()
    assert len(asked) == 2


async def test_end_when_the_handler_is_at_fault_then_it_learns_how_often() -> None:
    outcome, asked = await ended(ValueError("a fault of ours"), Done())

    assert outcome == Done()
    assert [delivery.failures for delivery in asked] == [0, 1]


async def test_end_when_a_few_may_run_at_once_then_no_more_do() -> None:
    waiting, gate = Waiting(10), asyncio.Event()
    running = most = 0

    async def handle(_delivery: Delivery) -> Outcome:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return Done()

    ends = EarlyEnds(waiting, handle, at_once=3)
    await ends.end(everything)
    await until(lambda: running == 3)
    gate.set()
    await until(lambda: len(waiting.finished) == 10)

    assert most == 3


async def test_stop_when_one_is_not_ended_then_it_is_let_go() -> None:
    waiting = Waiting(1)
    ends = EarlyEnds(waiting, Handler([Busy("away", retry_after_s=3600), Done()]))
    await ends.end(everything)
    await ends.stop()

    assert waiting.finished == {}
