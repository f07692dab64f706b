from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

import pytest
from notifier.webhooks.delivering import Deliverer
from notifier.webhooks.metrics import WebhookMetrics
from notifier.webhooks.ports import Answered, NotSent
from notifier.webhooks.schedule import Schedule
from notifier.webhooks.settings import DeliverySettings
from notifier.webhooks.signing import Signer
from notifier.webhooks.standing import Standing
from openai import OpenAI
from openai.types.webhooks import ResponseCompletedWebhookEvent
from penstock_contracts.codec import encode_model
from penstock_contracts.topics import WEBHOOK_ENDPOINTS
from penstock_contracts.webhooks import SuspensionReason, WebhookEndpoint
from penstock_kit.errors import Busy, Rejected
from penstock_kit.kafka.memory import MemoryKafka
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.outcomes import Delivery, Done, Retry
from penstock_kit.telemetry.metrics import Metrics
from penstock_kit.webhooks.deliveries import Notice, delivery_record
from penstock_kit.webhooks.endpoints import WebhookEndpoints
from penstock_kit.webhooks.secrets import WebhookSecrets
from penstock_kit.webhooks.settings import WebhookSettings
from penstock_kit.webhooks.urls import Target
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.clock import HandClock
from tests.support.webhooks import ENDPOINT, NOW, an_endpoint

NOTICE = Notice("acme", "response.completed", "resp_" + "a" * 42, NOW)
SECRETS = WebhookSecrets(b"s" * 32)
SETTINGS = DeliverySettings()


@dataclass
class Receiver:
    """Implements `Sender`; gives its answers in turn, the last for ever."""

    answers: Sequence[Answered | NotSent] = (Answered(200),)
    seen: list[tuple[Target, bytes, Mapping[str, str]]] = field(default_factory=list)

    async def send(
        self, target: Target, body: bytes, headers: Mapping[str, str], *, tenant: str
    ) -> Answered:
        del tenant
        answer = self.answers[min(len(self.seen), len(self.answers) - 1)]
        self.seen.append((target, body, headers))
        if isinstance(answer, NotSent):
            raise answer
        return answer


class Desk:
    """A deliverer over memory."""

    def __init__(self, *answers: Answered | NotSent) -> None:
        self.clock = HandClock(NOW)
        self.kafka = MemoryKafka([WEBHOOK_ENDPOINTS], partitions=1)
        self.producer = self.kafka.producer()
        self.endpoints = WebhookEndpoints()
        self.receiver = Receiver(answers or (Answered(200),))
        self.is_current = True
        metrics = WebhookMetrics(Metrics())
        self.deliverer = Deliverer(
            endpoints=self.endpoints,
            is_current=lambda: self.is_current,
            urls=WebhookSettings().url_rules(),
            signer=Signer(SECRETS),
            sender=self.receiver,
            schedule=Schedule(SETTINGS.schedule, SETTINGS.longest_asked),
            standing=Standing(
                endpoints=self.endpoints,
                producer=self.producer,
                clock=self.clock,
                new_id=lambda: "id",
                disable_after=SETTINGS.disable_after,
                metrics=metrics,
            ),
            clock=self.clock,
            random=lambda: 0.5,
            metrics=metrics,
        )

    def know(self, endpoint: WebhookEndpoint) -> None:
        self.endpoints.apply(endpoint.id, encode_model(endpoint))

    def told(self) -> list[bytes]:
        """Keys of what it wrote to the endpoint topic."""
        return [record.key or b"" for record in self.kafka.records(WEBHOOK_ENDPOINTS.name)]


@pytest.fixture
async def desk() -> Desk:
    made = Desk()
    await made.producer.start()
    made.know(an_endpoint())
    return made


def a_delivery(*, failures: int = 0, state: bytes = b"", endpoint: str = ENDPOINT) -> Delivery:
    out = delivery_record(NOTICE, endpoint, source="/test")
    record = Record(out.topic, 0, 7, out.key, out.value, out.headers)
    return Delivery(record, 1, is_suspect=False, failures=failures, state=state)


async def test_delivery_is_signed_so_that_both_packages_accept_it(desk: Desk) -> None:
    desk.clock.advance(datetime.now(timezone.utc) - NOW)

    assert await desk.deliverer(a_delivery()) == Done()

    ((target, body, headers),) = desk.receiver.seen
    secret = SECRETS.present(an_endpoint())
    assert target.url == "https://hooks.example.com/in"
    assert body == NOTICE.body()
    assert headers["webhook-id"] == NOTICE.id
    Webhook(secret).verify(body, dict(headers))
    event = OpenAI(api_key="none", webhook_secret=secret).webhooks.unwrap(body, dict(headers))
    assert isinstance(event, ResponseCompletedWebhookEvent)
    assert (event.id, event.data.id) == (NOTICE.id, NOTICE.subject)


async def test_two_secrets_sign_while_a_rotation_is_under_way(desk: Desk) -> None:
    rotated = an_endpoint(generation=2, overlap_until=NOW + timedelta(hours=24))
    desk.know(rotated)

    await desk.deliverer(a_delivery())
    desk.clock.advance(timedelta(hours=24))
    await desk.deliverer(a_delivery())

    during, after = (headers["webhook-signature"] for _, _, headers in desk.receiver.seen)
    new, old = SECRETS.signing(rotated, now=NOW)
    assert during.split(" ") == [
        Webhook(secret).sign(NOTICE.id, NOW, NOTICE.body().decode()) for secret in (new, old)
    ]
    assert len(after.split(" ")) == 1


async def test_wrong_secret_does_not_verify(desk: Desk) -> None:
    await desk.deliverer(a_delivery())

    ((_, body, headers),) = desk.receiver.seen
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRETS.present(an_endpoint(1))).verify(body, dict(headers))


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_ends_it_and_the_first_success_is_noted(desk: Desk, status: int) -> None:
    desk.receiver.answers = [Answered(status)]

    assert await desk.deliverer(a_delivery()) == Done()
    assert await desk.deliverer(a_delivery()) == Done()

    assert desk.told() == [f"{ENDPOINT}/success".encode()]


@pytest.mark.parametrize(
    "answer",
    [
        *(Answered(status) for status in (301, 302, 307, 400, 401, 403, 404, 409, 429, 500, 503)),
        *(
            NotSent("no", code=code)
            for code in ("timeout", "dns", "connect", "tls", "protocol", "refused_address")
        ),
    ],
)
async def test_everything_else_is_tried_again_by_the_schedule(
    desk: Desk, answer: Answered | NotSent
) -> None:
    desk.receiver.answers = [answer]

    outcomes = [await desk.deliverer(a_delivery(failures=n)) for n in range(len(SETTINGS.schedule))]

    for outcome, own in zip(outcomes, SETTINGS.schedule, strict=True):
        assert isinstance(outcome, Retry)
        assert outcome.after == own * 1.05
        assert outcome.counts
        assert not outcome.in_place


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        ("3600", timedelta(hours=1)),
        ("Sat, 21 Nov 2026 13:00:00 GMT", timedelta(hours=1)),
        ("999999999999", timedelta(days=1)),
        ("1", timedelta(seconds=5.25)),
        ("Sat, 21 Nov 2020 13:00:00 GMT", timedelta(seconds=5.25)),
        ("soon", timedelta(seconds=5.25)),
        ("Mon, 01 Jan 99999999999999 00:00:00 GMT", timedelta(seconds=5.25)),
        ("-5", timedelta(seconds=5.25)),
        ("nan", timedelta(seconds=5.25)),
    ],
)
async def test_retry_after_is_a_floor_up_to_a_day(
    desk: Desk, retry_after: str, expected: timedelta
) -> None:
    desk.receiver.answers = [Answered(429, retry_after)]

    outcome = await desk.deliverer(a_delivery())

    assert isinstance(outcome, Retry)
    assert outcome.after == expected


async def test_410_suspends_the_endpoint_and_what_follows_is_dropped(desk: Desk) -> None:
    desk.receiver.answers = [Answered(410)]

    assert await desk.deliverer(a_delivery()) == Done()
    assert await desk.deliverer(a_delivery()) == Done()

    assert len(desk.receiver.seen) == 1
    assert desk.told() == [f"{ENDPOINT}/suspension".encode()]
    view = desk.endpoints.get(ENDPOINT)
    assert view is not None
    assert view.suspension is not None
    assert view.suspension.reason is SuspensionReason.GONE


@pytest.mark.parametrize(("days", "is_suspended"), [(4, False), (6, True)])
async def test_exhausted_delivery_suspends_only_after_days_without_success(
    desk: Desk, days: int, *, is_suspended: bool
) -> None:
    desk.receiver.answers = [Answered(500)]
    desk.clock.advance(timedelta(days=days))

    outcome = await desk.deliverer(a_delivery(failures=len(SETTINGS.schedule)))

    assert outcome == Done()
    view = desk.endpoints.get(ENDPOINT)
    assert view is not None
    assert (view.suspension is not None) is is_suspended


async def test_success_in_between_keeps_an_endpoint_alive(desk: Desk) -> None:
    desk.receiver.answers = [Answered(200), Answered(500)]
    desk.clock.advance(timedelta(days=20))
    await desk.deliverer(a_delivery())
    desk.clock.advance(timedelta(days=1))

    await desk.deliverer(a_delivery(failures=len(SETTINGS.schedule)))

    view = desk.endpoints.get(ENDPOINT)
    assert view is not None
    assert view.is_live


async def test_disabled_endpoint_gets_nothing(desk: Desk) -> None:
    desk.know(an_endpoint(enabled=False))

    assert await desk.deliverer(a_delivery()) == Done()
    assert desk.receiver.seen == []


async def test_url_that_is_not_allowed_any_more_is_not_requested(desk: Desk) -> None:
    desk.know(an_endpoint(url="https://10.0.0.1/"))

    outcome = await desk.deliverer(a_delivery())

    assert isinstance(outcome, Retry)
    assert outcome.code == "refused_url"
    assert desk.receiver.seen == []


async def test_delivery_ahead_of_its_endpoint_waits_once_then_counts_as_removed(desk: Desk) -> None:
    ahead = "we_" + "9" * 32

    first = await desk.deliverer(a_delivery(endpoint=ahead))
    assert isinstance(first, Retry)
    assert not first.counts
    second = await desk.deliverer(a_delivery(endpoint=ahead, state=first.state))
    assert second == Done()
    desk.know(an_endpoint(9, id=ahead))
    await desk.deliverer(a_delivery(endpoint=ahead, state=first.state))
    assert len(desk.receiver.seen) == 1


async def test_while_endpoints_cannot_be_read_unknown_ones_wait(desk: Desk) -> None:
    desk.is_current = False

    with pytest.raises(Busy):
        await desk.deliverer(a_delivery(endpoint="we_" + "9" * 32))


async def test_delivery_of_another_tenant_is_refused(desk: Desk) -> None:
    delivery = a_delivery()
    headers = [
        (name, b"rival" if name == "ce_tenant" else value)
        for name, value in delivery.record.headers
    ]

    with pytest.raises(Rejected):
        await desk.deliverer(replace(delivery, record=replace(delivery.record, headers=headers)))
    assert desk.receiver.seen == []
