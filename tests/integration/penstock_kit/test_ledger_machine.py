"""Workers that crash, sleep and lose Redis, a recorder that lags, and one ledger between them.

Time is stepped: a lease's time passes when the machine says so. Everybody who is awake and reaches
Redis renews then; the leases of all others are taken away.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from penstock_contracts.events import TERMINAL, JobEventAdapter, JobStatus
from penstock_kit.errors import Busy
from penstock_kit.intake import VerifiedRequest
from penstock_kit.jobs.attempts import AlreadyOver, Attempts, Begin, LostOutcome, Moved
from penstock_kit.jobs.coverage import FoldMarks
from penstock_kit.jobs.fold import FoldPolicy, JobFold
from penstock_kit.jobs.patches import patch_of_event
from penstock_kit.jobs.redis_table import RedisJobTable
from penstock_kit.jobs.stored import EPOCH_KEY
from penstock_kit.jobs.view import TableAway
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.outcomes import Delivery
from penstock_kit.redis_client import RedisClient, connect_redis
from penstock_kit.settings import RedisSettings
from penstock_kit.tenancy import TenantScope
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support.job_records import (
    IDS,
    completed,
    event_record,
    job_id,
    request_record,
    started,
    verified,
)
from tests.support.redis_server import native_redis

EXAMPLES = int(os.environ.get("PENSTOCK_EXAMPLES", "40"))
LEASE_S = 600.0
"""Longer than any run of this test: only the machine ends leases."""
ERROR = {"type": "server_error", "code": "c", "message": "m"}
FAR_MS = 10**9


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop whose time can be moved on."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


class Switched:
    """A Redis client that a network fault can cut off."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self.is_cut = False

    def __getattr__(self, name: str) -> Any:
        if self.is_cut:
            raise RedisConnectionError("cut off")
        return getattr(self._redis, name)


@dataclass(eq=False)
class Carrier:
    """A record that carries the job."""

    made: int
    record: Record
    is_done: bool = False
    worker: Worker | None = None
    epoch: int = 0
    was_delivered: bool = False
    after: Carrier | None = None


@dataclass(eq=False)
class Run:
    """A handler in a worker: begun, started, calling, told."""

    carrier: Carrier
    delivery: Delivery
    begun: Begin | LostOutcome
    stage: str = "begun"
    status: JobStatus | None = None
    was_given_up: bool = False
    retry: Carrier | None = None


@dataclass(eq=False)
class Worker:
    """A process."""

    redis: Switched
    attempts: Attempts
    is_awake: bool = True
    is_dead: bool = False
    runs: list[Run] = field(default_factory=list)

    @property
    def can_act(self) -> bool:
        return self.is_awake and not self.is_dead


class Ledger(RuleBasedStateMachine):
    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = SteppedLoop()
        self.made: list[Attempts] = []
        self.tenant = f"t{uuid4().hex[:12]}"
        self.log: list[Record] = []
        self.folded = 0
        self.is_whole = False
        self.calls = 0
        self.epoch = 0

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def ends(self) -> dict[int, int]:
        return {0: len(self.log)} if self.log else {}

    @initialize(once=st.booleans(), is_sent_twice=st.booleans())
    def begin_world(self, once: bool, is_sent_twice: bool) -> None:
        self.once, self.can_cut = once, once or not is_sent_twice
        self.redis = connect_redis(RedisSettings(url=SecretStr(self.url)), name="machine")
        self.run(self.empty_redis())
        self.job = self.keyed() if is_sent_twice else job_id(1, tenant=self.tenant)
        charge: dict[str, Any] = {"charge": "at_most_once"} if once else {}
        record = request_record(self.job, tenant=self.tenant, **charge)
        self.request: VerifiedRequest = verified(record)
        self.source = record
        first = Carrier(0, record)
        self.carriers = [first]
        if is_sent_twice:
            self.carriers.append(Carrier(0, self.another(), after=first))
        self.workers = [self.new_worker() for _ in range(3)]
        self.rebuild()
        self.a_lease_passes()

    def keyed(self) -> str:
        """An id that can come again: only such a job is sent twice."""
        uuid = IDS.uuid_for_key(tenant=self.tenant, route="/v1/jobs", key="k")
        return IDS.issue(tenant=self.tenant, uuid=uuid)

    def another(self) -> Record:
        offset = 1 + len(self.carriers)
        return Record(
            self.source.topic,
            0,
            offset,
            self.source.key,
            self.source.value,
            self.source.headers,
            self.source.timestamp_ms,
        )

    def new_worker(self) -> Worker:
        switched = Switched(self.redis)
        attempts = Attempts(
            cast("RedisClient", switched),
            self,
            instance=uuid4().hex,
            lease=timedelta(seconds=LEASE_S),
        )
        self.made.append(attempts)
        return Worker(switched, attempts)

    # What happens around the workers

    @rule()
    def a_lease_passes(self) -> None:
        async def pass_it() -> None:
            for _ in range(4):
                self.loop.ahead_s += LEASE_S / 3
                for worker in self.workers:
                    if worker.can_act:
                        await self.beat(worker)
            await self.end_leases_of_the_silent()
            if self.is_whole:
                await self.age_table(FAR_MS)

        self.run(pass_it())

    async def beat(self, worker: Worker) -> None:
        leases = worker.attempts._leases
        try:
            await leases._beat()
        except TableAway:
            leases.note_silence()

    async def end_leases_of_the_silent(self) -> None:
        key = f"{self.request.scope.job_key(self.job)}:lease"
        holder = await self.redis.get(key)
        for worker in self.workers:
            is_silent = not worker.can_act or worker.redis.is_cut
            for run in worker.runs:
                run.was_given_up = run.was_given_up or is_silent
                if is_silent and holder == run.begun.owner.encode():
                    await self.redis.delete(key)
        owners = {run.begun.owner.encode() for worker in self.workers for run in worker.runs}
        if holder is not None and holder not in owners:
            await self.redis.delete(key)

    async def age_table(self, age_ms: int) -> None:
        run_id = (await self.redis.info("server"))["run_id"]
        seconds, _ = await self.redis.time()
        await self.redis.set(EPOCH_KEY, f"{run_id} {seconds * 1000 - age_ms}")

    @rule(count=st.integers(1, 9))
    def recorder_folds(self, count: int) -> None:
        self.run(self.fold_to(min(self.folded + count, len(self.log))))

    async def fold_to(self, end: int, begin: int | None = None) -> None:
        records = self.log[self.folded if begin is None else begin : end]
        patches = [patch_of_event(record, ids=IDS) for record in records]
        await JobFold(self.redis, FoldPolicy()).fold(patches)
        await FoldMarks(self.redis).note({0: end} if end else {})
        self.folded = end

    @rule()
    def redis_is_emptied(self) -> None:
        self.run(self.empty_redis())
        self.is_whole = False

    async def empty_redis(self) -> None:
        await self.redis.flushall()

    @rule()
    @precondition(lambda self: not self.is_whole)
    def rebuild(self) -> None:
        async def again() -> None:
            await self.fold_to(len(self.log), begin=0)
            await self.age_table(0)

        self.run(again())
        self.is_whole = True

    @rule(at=st.integers(0, 2))
    def worker_dies_and_another_comes(self, at: int) -> None:
        self.workers[at].is_dead = True
        for carrier in self.carriers:
            if carrier.worker is self.workers[at]:
                carrier.worker = None
        self.workers[at] = self.new_worker()

    @rule(at=st.integers(0, 2))
    def worker_falls_asleep_or_wakes_up(self, at: int) -> None:
        self.workers[at].is_awake = not self.workers[at].is_awake

    @rule(at=st.integers(0, 2))
    @precondition(lambda self: self.can_cut)
    def worker_is_cut_off_from_redis_or_back(self, at: int) -> None:
        self.workers[at].redis.is_cut = not self.workers[at].redis.is_cut

    # What the workers do

    @rule(at=st.integers(0, 2), which=st.integers(0, 9))
    def record_comes_to_a_worker(self, at: int, which: int) -> None:
        """Also one that another worker still runs: its partition moved."""
        carrier = self.carriers[which % len(self.carriers)]
        if carrier.is_done or (carrier.after is not None and not carrier.after.is_done):
            return
        if carrier.worker is not self.workers[at]:
            carrier.worker = self.workers[at]
            self.epoch += 1
            carrier.epoch = self.epoch
        self.try_to_begin(self.workers[at], carrier)

    def try_to_begin(self, worker: Worker, carrier: Carrier) -> None:
        if not worker.can_act or any(run.carrier is carrier for run in worker.runs):
            return
        delivery = Delivery(carrier.record, carrier.epoch, is_suspect=carrier.was_delivered)
        carrier.was_delivered = True
        try:
            verdict = self.run(worker.attempts.begin(self.request, delivery, made=carrier.made))
        except Busy:
            return
        if isinstance(verdict, AlreadyOver | Moved):
            carrier.is_done = True
            return
        assert not self.has_ended(), "begun although the log has an end"
        worker.runs.append(Run(carrier, delivery, verdict))

    def has_ended(self) -> bool:
        """Whether the log holds an end that counts, by the rule read literally."""
        newest = 0
        for record in self.log:
            event = JobEventAdapter.validate_json(record.value or b"")
            if event.type == "started":
                newest = max(newest, event.attempt)
            elif event.type in TERMINAL and event.attempt >= newest:
                return True
        return False

    @rule(at=st.integers(0, 2), steps=st.integers(1, 4), ends_well=st.booleans())
    @precondition(lambda self: any(worker.runs for worker in self.workers))
    def worker_goes_on(self, at: int, steps: int, ends_well: bool) -> None:
        busy = [worker for worker in self.workers if worker.can_act and worker.runs]
        for _ in range(steps if busy else 0):
            worker = busy[at % len(busy)]
            if worker.runs:
                self.run(self.go_on(worker, worker.runs[0], ends_well=ends_well))

    async def go_on(self, worker: Worker, run: Run, *, ends_well: bool) -> None:
        begun = run.begun
        if isinstance(begun, LostOutcome) and run.stage == "begun":
            self.tell(run, JobStatus.UNKNOWN_OUTCOME)
        elif run.stage == "begun":
            about: dict[str, Any] = {"tenant": self.tenant, "offset": len(self.log)}
            self.log.append(
                started(self.job, begun.attempt, crashes=begun.crashes or None, **about)
            )
            run.stage = "started"
        elif run.stage == "started":
            assert isinstance(begun, Begin)
            try:
                await worker.attempts.confirm(self.request, begun)
            except Busy:
                worker.runs.remove(run)
                await worker.attempts.finish(begun, None)
                return
            run.stage = "calling"
            self.calls += 1
        elif run.stage == "calling":
            self.tell(run, JobStatus.COMPLETED if ends_well else None)
        else:
            await self.finish(worker, run)

    def tell(self, run: Run, status: JobStatus | None) -> None:
        place, offset = (run.begun.attempt, 2), len(self.log)
        about: dict[str, Any] = {"tenant": self.tenant, "offset": offset}
        if status is JobStatus.COMPLETED:
            self.log.append(completed(self.job, place, str(offset), **about))
        elif status is not None:
            self.log.append(event_record(self.job, "unknown_outcome", place, error=ERROR, **about))
        else:
            told: dict[str, Any] = {"error": ERROR, "delay_s": 0, "next_attempt": place[0] + 1}
            self.log.append(event_record(self.job, "retrying", place, **told, **about))
        run.stage, run.status = "told", status

    async def finish(self, worker: Worker, run: Run) -> None:
        """Let go; a retry record is written before the source is done, as the lanes do."""
        worker.runs.remove(run)
        retry_in = timedelta(0) if run.status is None else None
        await worker.attempts.finish(run.begun, run.status, retry_in=retry_in)
        if run.status is None:
            self.carriers.append(Carrier(run.begun.attempt, self.another()))
        if run.carrier.worker is worker:
            run.carrier.is_done = True

    # What must hold

    @invariant()
    def nobody_calls_beside_one_that_lives(self) -> None:
        if not hasattr(self, "workers"):
            return
        live = [
            run
            for worker in self.workers
            for run in worker.runs
            if run.stage == "calling" and not run.was_given_up
        ]
        assert len(live) <= 1

    @invariant()
    def what_may_be_charged_once_is_called_once(self) -> None:
        if hasattr(self, "once") and self.once:
            told = sum(b"retrying" in (record.value or b"") for record in self.log)
            assert self.calls <= 1 + told

    def teardown(self) -> None:
        if hasattr(self, "workers"):
            self.come_to_an_end()
            for attempts in self.made:
                self.run(attempts.stop())
            self.run(self.redis.aclose())
        self.loop.close()

    def come_to_an_end(self) -> None:
        """All wake up, the recorder catches up: the job ends, and has one result."""
        for worker in self.workers:
            worker.is_awake, worker.redis.is_cut = True, False
        for _ in range(12):
            if not self.is_whole:
                self.rebuild()
            self.run(self.fold_to(len(self.log)))
            for worker in self.workers:
                while worker.runs:
                    self.run(self.go_on(worker, worker.runs[0], ends_well=True))
            self.a_lease_passes()
            for number in range(len(self.carriers)):
                self.record_comes_to_a_worker(0, number)
        self.run(self.fold_to(len(self.log)))
        assert all(carrier.is_done for carrier in self.carriers)
        state = self.run(RedisJobTable(self.redis).get(TenantScope(self.tenant), self.job))
        assert state is not None
        assert state.status.is_terminal
        if not self.once:
            assert state.status is JobStatus.COMPLETED


@pytest.fixture(name="own_redis")
def own_redis_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with native_redis(tmp_path_factory.mktemp("machine")) as url:
        yield url


@pytest.mark.timeout(1800)
def test_ledger_whatever_happens_one_worker_calls_and_the_job_ends_once(own_redis: str) -> None:
    Ledger.url = own_redis
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
