"""Tenants take turns through whole lanes, on Kafka in memory and on a real broker."""

from __future__ import annotations

import asyncio

from penstock_kit.kafka.ports import OutRecord
from penstock_kit.lanes.outcomes import Delivery, Done, Outcome
from penstock_kit.lanes.policy import LanePolicy
from penstock_kit.rule_book import tenant_of

from tests.support.kafka_ports import Ports
from tests.support.lanes import Work, running, until


async def fill(ports: Ports, tenant: str, count: int) -> None:
    headers = [("ce_tenant", tenant.encode())]
    for n in range(count):
        key = b"%s-%d" % (tenant.encode(), n)
        await ports.producer.send(OutRecord(ports.topic, key, b"%d" % n, headers))


async def short(_: Delivery) -> Outcome:
    await asyncio.sleep(0.005)
    return Done()


async def test_tenants_when_one_came_first_with_much_then_the_other_waits_its_turn_only(
    kafka_ports: Ports,
) -> None:
    work = Work(short)
    await fill(kafka_ports, "crowd", 400)
    await fill(kafka_ports, "small", 40)
    policy = LanePolicy(max_in_flight=4)
    async with running(kafka_ports, work, policy=policy, tenant_of=tenant_of) as lanes:
        lanes.pause()
        await until(lambda: lanes.stats.assigned == 3)
        lanes.resume()
        await until(lambda: len(work.done) == 440)

    order = [tenant_of(delivery.record) for delivery in work.done]
    last_small = max(n for n, tenant in enumerate(order) if tenant == "small")
    crowd_before = order[:last_small].count("crowd")
    first_small = order.index("small")
    assert crowd_before - order[:first_small].count("crowd") < 3 * 40, "turns, not first come"


async def test_tenant_cap_when_only_one_has_work_then_it_has_so_many_at_once(
    kafka_ports: Ports,
) -> None:
    work = Work(short)
    await fill(kafka_ports, "a", 60)
    policy = LanePolicy(max_in_flight=50, tenant_in_flight=3)
    async with running(kafka_ports, work, policy=policy, tenant_of=tenant_of):
        await until(lambda: len(work.done) == 60)

    assert work.most_at_once == 3
