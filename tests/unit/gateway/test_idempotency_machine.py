"""One key and body is one job, whatever becomes of Redis, acknowledgements and patience."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from penstock_contracts.ids import JobIds
from penstock_kit.auth.producers import ProducerKeys
from penstock_kit.intake import Intake, VerifiedRequest
from penstock_kit.tasks import TaskCatalog

from tests.support.gateway import ID_SECRET, Reply, make_bench

EXAMPLES = int(os.environ.get("PENSTOCK_EXAMPLES", "60"))
BODIES: list[dict[str, Any]] = [
    {"task": "chat", "input": "one"},
    {"task": "chat", "input": "two"},
]
TOPIC = "ai.chat.requests.v1"
NAMES = st.tuples(st.sampled_from(["acme", "globex"]), st.sampled_from(["k1", "k2", "k3"]))

Name = tuple[str, str]


class Submits(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.ids: dict[tuple[Name, int], str] = {}
        """Jobs by key and body."""
        self.accepted: dict[str, int] = {}
        """The body that was answered with 202, by job."""
        self.was_away = False

    @initialize()
    def start(self) -> None:
        self.bench = self.runner.run(make_bench())
        self.tokens = {
            tenant: self.bench.new_key(tenant=tenant, user="ann") for tenant in ("acme", "globex")
        }
        secret = ID_SECRET.encode()
        self.intake = Intake(
            tasks=TaskCatalog.builtin(), ids=JobIds(secret), secrets=ProducerKeys(secret)
        )

    def requests(self) -> list[VerifiedRequest]:
        return [self.intake.verify(record) for record in self.bench.kafka.records(TOPIC)]

    @rule(name=NAMES, body=st.integers(0, 1), times=st.integers(1, 4))
    def clients_submit_at_once(self, name: Name, body: int, times: int) -> None:
        tenant, key = name

        async def submit() -> list[Reply]:
            return await asyncio.gather(
                *(
                    self.bench.call(
                        "POST",
                        "/v1/jobs",
                        BODIES[body],
                        headers={"Idempotency-Key": key},
                        key=self.tokens[tenant],
                    )
                    for _ in range(times)
                )
            )

        for reply in self.runner.run(submit()):
            self.judge(name, body, reply)

    def judge(self, name: Name, body: int, reply: Reply) -> None:
        if reply.status == 202:
            job = reply.json["id"]
            assert self.accepted.setdefault(job, body) == body
            # Without Redis, and for a while after, a gateway knows only the keys that it saw then.
            assert self.was_away or self.ids.get((name, 1 - body)) not in self.accepted
        elif reply.status == 503:
            job = reply.json["job"]
        else:
            assert (reply.status, reply.code) == (422, "idempotency_key_reused")
            return
        assert self.ids.setdefault((name, body), job) == job

    @rule(is_away=st.booleans())
    def redis_goes_or_comes(self, is_away: bool) -> None:
        self.bench.admissions.is_away = is_away
        self.was_away = self.was_away or is_away

    @rule(are_lost=st.booleans())
    def acknowledgements_are_lost_or_come(self, are_lost: bool) -> None:
        self.bench.kafka.faults.lose_acks = are_lost

    @invariant()
    def every_key_and_body_is_one_job_of_its_tenant(self) -> None:
        if not hasattr(self, "bench"):
            return
        written = self.requests()
        owners = {job: tenant for ((tenant, _), _), job in self.ids.items()}
        assert len(owners) == len(self.ids), "two keys or bodies share a job"
        assert {request.job for request in written} == set(owners)
        assert all(owners[request.job] == request.tenant for request in written)
        assert set(self.accepted) <= {request.job for request in written}

    def teardown(self) -> None:
        self.runner.close()


def test_submit_whatever_fails_one_key_is_one_job() -> None:
    run_state_machine_as_test(
        Submits,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
