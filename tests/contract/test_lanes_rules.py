"""Rules at run time through whole lanes, on Kafka in memory and on a real broker."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from penstock_contracts.control import ControlRule, Selector
from penstock_contracts.topics import LARGEST_RECORD_BYTES
from penstock_kit.kafka.ports import OutRecord, Record
from penstock_kit.lanes.outcomes import Delivery, Done, Outcome
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.lanes.retry_topics import RetryTier, RetryTopics
from penstock_kit.rule_book import RuleBook, tenant_of

from tests.support.kafka_ports import Ports, plain_topic
from tests.support.lanes import Work, number, running, until

NOW = datetime.now(timezone.utc)


def pause(tenant: str, *, until: datetime | None = None) -> ControlRule:
    return ControlRule(
        name=f"pause-{tenant}",
        action="pause",
        selector=Selector(tenant=tenant),
        at=NOW,
        expires_at=until,
    )


async def fill(ports: Ports, tenant: str, numbers: range) -> None:
    for n in numbers:
        await ports.producer.send(
            OutRecord(ports.topic, b"%s-%d" % (tenant.encode(), n), b"%d" % n, _headers(tenant))
        )


def _headers(tenant: str) -> list[tuple[str, bytes]]:
    return [("ce_tenant", tenant.encode())]


async def test_pause_when_cleared_then_what_it_held_runs_at_once(kafka_ports: Ports) -> None:
    rules, work = RuleBook(), Work()
    rules.put(pause("a"))
    await fill(kafka_ports, "a", range(20))
    await fill(kafka_ports, "b", range(20, 40))
    async with running(kafka_ports, work, tenant_of=tenant_of, rules=rules) as lanes:
        await until(lambda: work.numbers == list(range(20, 40)) and lanes.stats.ruled == 20)

        rules.remove("pause-a")
        assert lanes.stats.in_flight > 0, "not with the next poll, but now"

        await until(lambda: work.numbers == list(range(40)))


async def test_pause_when_it_expires_then_what_it_held_runs(kafka_ports: Ports) -> None:
    rules, work = RuleBook(), Work()
    await fill(kafka_ports, "a", range(5))
    over = datetime.now(timezone.utc) + timedelta(seconds=1)
    rules.put(pause("a", until=over))
    async with running(kafka_ports, work, tenant_of=tenant_of, rules=rules) as lanes:
        await until(lambda: lanes.stats.lag == 5)
        await until(lambda: work.numbers == list(range(5)))
        assert datetime.now(timezone.utc) >= over


async def test_drop_when_matching_then_the_handler_ends_it(kafka_ports: Ports) -> None:
    async def end(delivery: Delivery) -> Outcome:
        dropped[number(delivery)] = delivery.dropped_by
        return Done()

    dropped: dict[int, str | None] = {}
    rules = RuleBook()
    rules.put(
        ControlRule(name="stop-a", action="drop", selector=Selector(tenant="a"), at=NOW),
    )
    await fill(kafka_ports, "a", range(3))
    await fill(kafka_ports, "b", range(3, 6))
    async with running(kafka_ports, Work(end), tenant_of=tenant_of, rules=rules):
        await until(lambda: len(dropped) == 6)

    assert dropped == dict.fromkeys(range(3), "stop-a") | dict.fromkeys(range(3, 6))


async def test_pause_when_it_fills_the_way_then_others_pass_and_nothing_is_lost(
    kafka_ports: Ports,
) -> None:
    """The paused tenant's records lie before the others', beyond what may be skipped."""
    tier = RetryTier(f"{kafka_ports.topic}.retry", timedelta(milliseconds=200))
    await kafka_ports.create_topic(
        plain_topic(tier.topic, keeps_broker_time=True, max_message_bytes=LARGEST_RECORD_BYTES)
    )
    policy = LanePolicy(span_cap=10, queue_per_partition=30, parked_for=timedelta(milliseconds=100))
    rules, work = RuleBook(), Work()
    rules.put(pause("a"))
    await fill(kafka_ports, "a", range(60))
    await fill(kafka_ports, "b", range(60, 260))
    async with running(
        kafka_ports,
        work,
        policy=policy,
        tenant_of=tenant_of,
        rules=rules,
        retries=RetryTopics([tier]),
        may_park=always,
    ) as lanes:
        await until(lambda: work.numbers == list(range(60, 260)))
        assert lanes.stats.retries > 0

        rules.remove("pause-a")

        await until(lambda: set(work.numbers) == set(range(260)))
    assert len(work.done) == 260, "a record that moved ran once"
    assert all(delivery.failures == 0 for delivery in work.done)


def always(_: Record) -> bool:
    return True
