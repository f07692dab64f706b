"""The whole schedule, in the real retry topics' order of things, on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from notifier.webhooks.delivering import Deliverer
from notifier.webhooks.metrics import WebhookMetrics
from notifier.webhooks.ports import Answered
from notifier.webhooks.schedule import Schedule
from notifier.webhooks.settings import DeliverySettings
from notifier.webhooks.signing import Signer
from notifier.webhooks.standing import Standing
from penstock_contracts.codec import encode_model
from penstock_contracts.topics import WEBHOOK_DELIVERIES
from penstock_contracts.webhooks import SuspensionReason
from penstock_kit.lanes.outcomes import Delivery, Outcome
from penstock_kit.lanes.policy import LanePolicy, Order
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.webhooks.deliveries import Notice, delivery_record
from penstock_kit.webhooks.endpoints import WebhookEndpoints
from penstock_kit.webhooks.secrets import WebhookSecrets
from penstock_kit.webhooks.settings import WebhookSettings
from penstock_kit.webhooks.urls import Target
from standardwebhooks import Webhook

from tests.support.virtual_loop import VirtualLoop, run_virtually
from tests.support.waiting_room import WaitingRoom
from tests.support.webhooks import ENDPOINT, an_endpoint

LATE = timedelta(minutes=2)
"""Hops, and questions for the broker's time where nobody else writes."""
SETTINGS = DeliverySettings()


class World:
    """One endpoint, whose receiver answers by the time of day."""

    def __init__(
        self,
        *,
        up_after: timedelta | None = None,
        retry_after: str | None = None,
        age: timedelta = timedelta(0),
    ) -> None:
        self.tries: dict[str, list[tuple[datetime, Mapping[str, str], bytes]]] = {}
        self.room = WaitingRoom(
            WEBHOOK_DELIVERIES.name, self._handle, policy=LanePolicy(order=Order.NONE)
        )
        self.began = self.room.clock.now()
        self.up_at = None if up_after is None else self.began + up_after
        self.retry_after = retry_after
        self.endpoint = an_endpoint(created_at=self.began - age, enabled_at=self.began - age)
        self.endpoints = WebhookEndpoints()
        self.endpoints.apply(ENDPOINT, encode_model(self.endpoint))
        metrics = WebhookMetrics(Metrics())
        self.secrets = WebhookSecrets(b"s" * 32)
        self.deliverer = Deliverer(
            endpoints=self.endpoints,
            is_current=lambda: True,
            urls=WebhookSettings().url_rules(),
            signer=Signer(self.secrets),
            sender=self,
            schedule=Schedule(SETTINGS.schedule, SETTINGS.longest_asked),
            standing=Standing(
                endpoints=self.endpoints,
                producer=self.room,  # type: ignore[arg-type] # only `send` is used
                clock=self.room.clock,
                new_id=lambda: "id",
                disable_after=SETTINGS.disable_after,
                metrics=metrics,
            ),
            clock=self.room.clock,
            random=Random(7).random,
            metrics=metrics,
        )

    async def _handle(self, delivery: Delivery) -> Outcome:
        return await self.deliverer(delivery)

    async def send(
        self, target: Target, body: bytes, headers: Mapping[str, str], *, tenant: str
    ) -> Answered:
        del tenant
        del target
        now = self.room.clock.now()
        await asyncio.sleep(1)
        self.tries.setdefault(headers["webhook-id"], []).append((now, headers, body))
        is_up = self.up_at is not None and now >= self.up_at
        return Answered(200) if is_up else Answered(503, self.retry_after)

    async def happen(self, subject: str) -> str:
        notice = Notice("acme", "response.completed", subject, self.room.clock.now())
        await self.room.send(delivery_record(notice, ENDPOINT, source="/test"))
        return notice.id


def test_delivery_is_tried_ten_times_over_three_days_never_early_and_with_one_id() -> None:
    async def main() -> None:
        world = World()
        event_id = await world.happen("resp_1")
        await world.room.empty()

        tries = world.tries.pop(event_id)
        assert world.tries == {}
        assert len(tries) == len(SETTINGS.schedule) + 1
        gaps = [after[0] - before[0] for before, after in pairwise(tries)]
        for gap, own in zip(gaps, SETTINGS.schedule, strict=True):
            assert own <= gap <= own * 1.1 + LATE
        assert tries[-1][0] - tries[0][0] >= timedelta(days=3)
        assert len({body for _, _, body in tries}) == 1
        webhook = Webhook(world.secrets.present(world.endpoint))
        for at, headers, body in tries:
            assert headers["webhook-timestamp"] == str(int(at.timestamp()))
            assert headers["webhook-signature"] == webhook.sign(event_id, at, body.decode())
        view = world.endpoints.get(ENDPOINT)
        assert view is not None
        assert view.is_live, "three days are not yet the five after which it is suspended"
        assert not world.room.faults

    run_virtually(main(), VirtualLoop())


def test_receiver_that_is_back_after_hours_gets_everything_once() -> None:
    async def main() -> None:
        world = World(up_after=timedelta(hours=6))
        ids = [await world.happen(f"resp_{number}") for number in range(10)]
        await world.room.empty()

        taken = [
            event_id
            for event_id, tries in world.tries.items()
            for at, _, _ in tries
            if world.up_at is not None and at >= world.up_at
        ]
        assert sorted(taken) == sorted(ids)

    run_virtually(main(), VirtualLoop())


def test_endpoint_that_takes_nothing_for_five_days_is_suspended_and_tried_no_more() -> None:
    async def main() -> None:
        world = World(age=timedelta(days=2))
        for number in range(3):
            await world.happen(f"resp_{number}")
            await asyncio.sleep(1800)
        await world.room.empty()

        view = world.endpoints.get(ENDPOINT)
        assert view is not None
        assert view.suspension is not None
        assert view.suspension.reason is SuspensionReason.FAILING
        assert view.suspension.at - world.endpoint.enabled_at >= SETTINGS.disable_after
        last = max(at for tries in world.tries.values() for at, _, _ in tries)
        assert last <= view.suspension.at

    run_virtually(main(), VirtualLoop())


@pytest.mark.parametrize(("asked", "least"), [("7200", 2), ("100000000", 24)])
def test_retry_after_of_the_receiver_is_waited_out_up_to_a_day(asked: str, least: int) -> None:
    async def main() -> None:
        world = World(up_after=timedelta(minutes=1), retry_after=asked)
        event_id = await world.happen("resp_1")
        await world.room.empty()

        first, second = (at for at, _, _ in world.tries[event_id])
        assert timedelta(hours=least) <= second - first <= timedelta(hours=least) + LATE

    run_virtually(main(), VirtualLoop())
