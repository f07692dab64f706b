from __future__ import annotations

import base64
from datetime import datetime, timedelta

import pytest
from penstock_contracts.codec import encode_model
from penstock_contracts.webhooks import (
    SuspensionReason,
    WebhookEndpoint,
    WebhookSuccess,
    WebhookSuspension,
    matches,
    webhook_event_id,
    webhook_key,
)
from penstock_kit.errors import Rejected
from penstock_kit.kafka.ports import Record
from penstock_kit.tenancy import TenantScope
from penstock_kit.webhooks.deliveries import Notice, delivery_record, read_delivery
from penstock_kit.webhooks.endpoints import WebhookEndpoints
from penstock_kit.webhooks.secrets import WebhookSecrets
from penstock_kit.webhooks.table import endpoint_record, endpoint_tombstones
from pydantic import ValidationError

from tests.support.webhooks import ENDPOINT, NOW, an_endpoint

ACME = TenantScope("acme")


def known(*records: WebhookEndpoint | WebhookSuspension | WebhookSuccess) -> WebhookEndpoints:
    endpoints = WebhookEndpoints()
    for record in records:
        assert endpoints.apply(webhook_key(record), encode_model(record)) is None
    return endpoints


def suspension(enablement: int = 1) -> WebhookSuspension:
    return WebhookSuspension(
        endpoint=ENDPOINT,
        tenant="acme",
        enablement=enablement,
        reason=SuspensionReason.GONE,
        at=NOW,
    )


@pytest.mark.parametrize(
    ("pattern", "event", "is_match"),
    [
        ("*", "response.completed", True),
        ("response.*", "response.completed", True),
        ("response.completed", "response.completed", True),
        ("response.completed", "response.failed", False),
        ("response.*", "batch.completed", False),
        ("response.*", "responses.completed", False),
    ],
)
def test_pattern_chooses_events(pattern: str, event: str, *, is_match: bool) -> None:
    assert matches(pattern, event) is is_match


@pytest.mark.parametrize("pattern", ["", "response", "*.completed", "response.c*", "a.b.c", "A.b"])
def test_other_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        an_endpoint(events=[pattern])


def test_endpoint_wants_its_own_tenants_events_since_it_was_made() -> None:
    endpoints = known(
        an_endpoint(0),
        an_endpoint(1, events=["batch.*"]),
        an_endpoint(2, tenant="rival"),
        an_endpoint(3, enabled=False),
        an_endpoint(4, created_at=NOW + timedelta(hours=1)),
    )

    found = endpoints.wanting("acme", "response.completed", at=NOW + timedelta(minutes=1))

    assert [endpoint.id for endpoint in found] == [ENDPOINT]
    assert endpoints.wanting("nobody", "response.completed", at=NOW) == []


def test_suspension_stops_deliveries_until_the_owner_enables_the_endpoint_again() -> None:
    endpoints = known(an_endpoint(), suspension())
    assert endpoints.wanting("acme", "response.completed", at=NOW) == []

    enabled_again = an_endpoint(enablement=2)
    endpoints.apply(ENDPOINT, encode_model(enabled_again))

    assert endpoints.wanting("acme", "response.completed", at=NOW) == [enabled_again]


def test_late_suspension_of_an_earlier_enablement_changes_nothing() -> None:
    view = known(an_endpoint(enablement=2), suspension(1)).get(ENDPOINT)

    assert view is not None
    assert view.is_live


def test_other_tenants_endpoint_is_not_found() -> None:
    endpoints = known(an_endpoint())

    assert endpoints.find(ACME, ENDPOINT) is not None
    assert endpoints.find(TenantScope("rival"), ENDPOINT) is None


def test_tombstones_forget_everything_of_an_endpoint() -> None:
    success = WebhookSuccess(endpoint=ENDPOINT, tenant="acme", at=NOW)
    endpoints = known(an_endpoint(), success, suspension())

    for record in endpoint_tombstones(ENDPOINT):
        endpoints.apply((record.key or b"").decode(), record.value)

    assert len(endpoints) == 0
    assert not endpoints.has_any("acme")
    endpoints.apply(ENDPOINT, encode_model(an_endpoint()))
    view = endpoints.get(ENDPOINT)
    assert view is not None
    assert (view.suspension, view.last_success_at) == (None, None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (ENDPOINT, b"{"),
        (ENDPOINT, b'{"type":"endpoint"}'),
        ("we_" + "1" * 32, encode_model(an_endpoint())),
        (ENDPOINT, encode_model(suspension())),
    ],
)
def test_broken_record_changes_nothing(key: str, value: bytes) -> None:
    endpoints = known(an_endpoint())

    assert endpoints.apply(key, value) is not None
    assert endpoints.get(ENDPOINT) is not None
    assert len(endpoints) == 1


def test_secret_is_derived_and_lies_in_no_record() -> None:
    endpoint = an_endpoint()
    secret = WebhookSecrets(b"s" * 32).present(endpoint)

    record = endpoint_record(endpoint, source="/test", now=NOW, event_id="1")

    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert secret.encode() not in (record.value or b"")
    assert secret == WebhookSecrets(b"s" * 32).present(endpoint)
    others = (
        WebhookSecrets(b"t" * 32).present(endpoint),
        WebhookSecrets(b"s" * 32).present(an_endpoint(1)),
        WebhookSecrets(b"s" * 32).present(an_endpoint(tenant="rival")),
        WebhookSecrets(b"s" * 32).present(an_endpoint(generation=2)),
    )
    assert secret not in others


@pytest.mark.parametrize(
    ("now", "count"), [(NOW + timedelta(hours=23), 2), (NOW + timedelta(hours=24), 1)]
)
def test_old_secret_signs_beside_the_new_one_until_the_overlap_is_over(
    now: datetime, count: int
) -> None:
    secrets = WebhookSecrets(b"s" * 32)
    rotated = an_endpoint(generation=2, overlap_until=NOW + timedelta(hours=24))

    signing = secrets.signing(rotated, now=now)

    assert signing == [secrets.present(rotated), secrets.present(an_endpoint())][:count]


def test_event_has_one_id_and_one_body_however_often_it_is_noticed() -> None:
    notice = Notice("acme", "response.completed", "resp_1", NOW)
    record = delivery_record(notice, ENDPOINT, source="/test")

    read = read_delivery(Record(record.topic, 0, 0, record.key, record.value, record.headers))

    assert (read.endpoint, read.tenant, read.body) == (ENDPOINT, "acme", notice.body())
    assert read.event_id == notice.id
    assert notice.id == webhook_event_id(
        tenant="acme", subject="resp_1", event="response.completed"
    )
    assert notice.id != Notice("rival", "response.completed", "resp_1", NOW).id


def test_record_that_is_no_delivery_is_refused() -> None:
    record = delivery_record(Notice("acme", "a.b", "x", NOW), ENDPOINT, source="/test")
    kept = [header for header in record.headers if header[0] != "ce_subject"]

    for headers, value in ((kept, record.value), (record.headers, b"")):
        with pytest.raises(Rejected):
            read_delivery(Record(record.topic, 0, 0, record.key, value, headers))
