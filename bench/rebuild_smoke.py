"""How fast the job table is rebuilt: ended jobs, as the topics hold them, into a real Redis.

    python -m bench.rebuild_smoke [jobs]

Records are made while it runs, and the time for that is taken off; reading them from a broker is
not in it (librdkafka reads more than 100,000 of them a second).
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from penstock_contracts.events import Position
from penstock_contracts.topics import EVENTS, STATE
from penstock_kit.clock import SystemClock
from penstock_kit.intake import Intake
from penstock_kit.jobs.coverage import FoldMarks
from penstock_kit.jobs.epoch import TableEpoch
from penstock_kit.jobs.facets import join
from penstock_kit.jobs.fold import Changed, FoldPolicy, JobFold
from penstock_kit.jobs.patches import patch_of_event, patch_of_request
from penstock_kit.jobs.publishing import StatePublisher
from penstock_kit.jobs.reading import JobRecords
from penstock_kit.jobs.rebuild import Rebuild
from penstock_kit.jobs.state_records import state_record
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import Record
from penstock_kit.kafka.scan import ScanBatch
from penstock_kit.redis_client import connect_redis
from penstock_kit.settings import RedisSettings
from penstock_kit.tasks import TaskCatalog
from pydantic import SecretStr

from tests.support.job_records import (
    IDS,
    T0,
    completed,
    delta,
    job_id,
    request_record,
    started,
    verified,
)
from tests.support.redis_server import native_redis
from tests.support.waiting import redis_answers

_BATCH = 2_000
_DELTAS = 8
"""Per job: a second of streaming at the pace of delta events."""


class MadeLog:
    """Implements `LogScan`; knows how long it took to make the records."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self.made_s = self.made_cpu_s = 0.0

    async def batches(self, topics: Sequence[str]) -> AsyncGenerator[ScanBatch, None]:
        """What the topics hold of all jobs, one after another."""
        make: Callable[[int], Iterator[Record]] = _requests
        if EVENTS.name in topics:
            make = _events
        elif STATE.name in topics:
            make = _states
        records = (record for number in range(self._jobs) for record in make(number))
        while True:
            began, began_cpu = time.perf_counter(), time.process_time()
            batch = list(islice(records, _BATCH))
            self.made_s += time.perf_counter() - began
            self.made_cpu_s += time.process_time() - began_cpu
            yield ScanBatch(batch, 0 if len(batch) < _BATCH else 1)
            if len(batch) < _BATCH:
                return


def _requests(number: int) -> Iterator[Record]:
    yield request_record(job_id(number), offset=number)


def _events(number: int) -> Iterator[Record]:
    job, first = job_id(number), number * (_DELTAS + 2)
    yield started(job, offset=first)
    for piece in range(_DELTAS):
        yield delta(job, (1, 2 + piece), "some words of an answer ", offset=first + 1 + piece)
    place = Position(1, 2 + _DELTAS)
    yield completed(job, place, "an answer " * 40, offset=first + _DELTAS + 1)


def _states(number: int) -> Iterator[Record]:
    facets = patch_of_request(verified(next(_requests(number)))).facets
    for record in _events(number):
        if b"delta" not in dict(record.headers)["ce_type"]:
            facets = join(facets, patch_of_event(record, ids=IDS).facets)
    out = state_record(Changed("acme", job_id(number), 1, facets), now=T0)
    at_ms = int(T0.timestamp() * 1000)
    yield Record(STATE.name, 0, number, out.key, out.value, out.headers, at_ms)


async def measure(jobs: int, redis_url: str) -> tuple[float, float, float]:
    """Seconds for all jobs; CPU seconds of the recorder, and of Redis."""
    redis = connect_redis(RedisSettings(url=SecretStr(redis_url)), name="bench")
    await redis_answers(redis)
    clock, policy = SystemClock(), FoldPolicy()
    kafka = MemoryKafka([STATE.name])
    producer = kafka.producer()
    await producer.start()
    fold = JobFold(redis, policy)
    log = MadeLog(jobs)
    catalog = TaskCatalog.builtin()
    rebuild = Rebuild(
        scan=log,
        records=JobRecords(
            intake=Intake(tasks=catalog, ids=IDS, secrets=None),
            ids=IDS,
            policy=policy,
            clock=clock,
        ),
        fold=fold,
        publisher=StatePublisher(producer, fold, clock),
        epoch=TableEpoch(redis),
        marks=FoldMarks(redis),
        clock=clock,
        request_topics=catalog.request_topics(),
    )
    began = time.process_time()
    report = await rebuild.run("bench")
    cpu_s = time.process_time() - began - log.made_cpu_s
    used = await redis.info("cpu")
    await redis.aclose()
    assert report.jobs == jobs
    redis_s = used["used_cpu_user"] + used["used_cpu_sys"]
    return report.seconds - log.made_s, cpu_s, redis_s


def main() -> None:
    """Print one line."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder, native_redis(Path(folder)) as url:
        seconds, own_s, redis_s = asyncio.run(measure(jobs, url))
    cpu = f"CPU: recorder {own_s:.1f} s, Redis {redis_s:.1f} s"
    print(f"rebuild of {jobs} jobs: {seconds:.1f} s ({cpu})")


if __name__ == "__main__":
    main()
