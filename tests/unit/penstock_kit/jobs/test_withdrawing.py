"""Cancels of jobs that wait: one look for many of them, tenants apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timezone

import orjson
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_kit.control import Cancel
from penstock_kit.jobs.withdrawing import Withdrawals
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.outcomes import Dead, Delivery, Done, Outcome

from tests.support.waiting import until

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Waiting:
    """The lanes, as a list of records; counts how often each was looked at."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = list(records)
        self.looks = 0
        self.finished: list[str] = []

    async def withdraw(self, match: Callable[[Record], bool]) -> list[Delivery]:
        self.looks += 1
        await asyncio.sleep(0)
        taken = [record for record in self.records if match(record)]
        self.records = [record for record in self.records if record not in taken]
        return [Delivery(record, 1, is_suspect=False) for record in taken]

    def finish(self, delivery: Delivery, outcome: Done | Dead) -> None:
        assert outcome == Done()
        self.finished.append((delivery.record.key or b"").decode())


async def done(_: Delivery) -> Outcome:
    return Done()


@asynccontextmanager
async def withdrawals_of(window: Waiting) -> AsyncIterator[Withdrawals]:
    withdrawals = Withdrawals(window, done)
    await withdrawals.start()
    yield withdrawals
    await withdrawals.stop()


def cancel(job: str, tenant: str = "acme") -> Cancel:
    return Cancel(job, tenant, None, NOW)


def request(job: str, tenant: str = "acme") -> Record:
    envelope = Envelope(id="1", source="/test", type="x", tenant=tenant, subject=job)
    return Record("t", 0, 0, job.encode(), b"{}", encode_headers(envelope))


async def test_cancels_when_a_fetch_brings_many_then_what_waits_is_looked_at_once() -> None:
    window = Waiting([request(f"job_{n}") for n in range(100)])
    async with withdrawals_of(window) as withdrawals:
        for n in range(50):
            withdrawals.on_cancel(cancel(f"job_{n}"))
        await until(lambda: len(window.finished) == 50)

    assert sorted(window.finished) == sorted(f"job_{n}" for n in range(50))
    assert window.looks == 1


async def test_cancel_when_it_comes_during_a_look_then_the_next_one_finds_it() -> None:
    window = Waiting([request("job_1"), request("job_2")])
    async with withdrawals_of(window) as withdrawals:
        withdrawals.on_cancel(cancel("job_1"))
        await until(lambda: window.looks == 1)
        withdrawals.on_cancel(cancel("job_2"))
        await until(lambda: len(window.finished) == 2)

    assert window.looks == 2


async def test_cancel_when_the_record_is_on_its_way_then_the_second_look_finds_it() -> None:
    window = Waiting([])
    async with withdrawals_of(window) as withdrawals:
        withdrawals.on_cancel(cancel("job_1"))
        await until(lambda: window.looks == 1)
        window.records.append(request("job_1"))
        await until(lambda: window.finished == ["job_1"])

    assert window.looks == 2


async def test_cancel_when_the_job_is_another_tenants_then_it_waits_on() -> None:
    theirs = request("job_1", "beta")
    window = Waiting([theirs, request("job_2")])
    async with withdrawals_of(window) as withdrawals:
        withdrawals.on_cancel(cancel("job_1", "acme"))
        withdrawals.on_cancel(cancel("job_2", "acme"))
        await until(lambda: len(window.finished) == 1)

    assert window.records == [theirs]


async def test_cancel_when_the_event_is_structured_then_it_is_found() -> None:
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "/test",
        "type": "x",
        "tenant": "acme",
        "subject": "job_1",
        "data": {},
    }
    headers = [("content-type", b"application/cloudevents+json")]
    window = Waiting([Record("t", 0, 0, b"job_1", orjson.dumps(event), headers)])
    async with withdrawals_of(window) as withdrawals:
        withdrawals.on_cancel(cancel("job_1"))
        await until(lambda: window.finished == ["job_1"])


async def test_cancel_when_stopped_then_nothing_is_looked_at() -> None:
    window = Waiting([request("job_1")])
    async with withdrawals_of(window) as withdrawals:
        await withdrawals.stop()
        withdrawals.on_cancel(cancel("job_1"))

    assert window.looks == 0
