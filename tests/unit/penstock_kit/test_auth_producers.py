from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timezone

import pytest
from penstock_contracts.credentials import Producer, Scope
from penstock_kit.auth.api_keys import ApiKeys, make_api_key
from penstock_kit.auth.producers import GATEWAY_PRODUCER, ProducerKeys, producer_secret
from penstock_kit.auth.table import CredentialTable, credential_record
from penstock_kit.settings import KafkaSettings

from tests.support.clock import HandClock

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
SECRET = b"s" * 32


def billing(**changes: object) -> Producer:
    return Producer(id="billing", tenants=["acme"], created_at=NOW).model_copy(update=changes)


def table() -> tuple[CredentialTable, ApiKeys, ProducerKeys]:
    keys, producers = ApiKeys(HandClock(NOW)), ProducerKeys(SECRET)
    made = CredentialTable(KafkaSettings(bootstrap="x:1"), keys=keys, producers=producers)
    return made, keys, producers


def test_secret_is_derived_as_the_contract_says() -> None:
    expected = hmac.new(SECRET, b"producer\nbilling\n3", hashlib.sha256).digest()

    assert producer_secret(SECRET, "billing", generation=3) == expected


def test_gateway_is_built_in_for_every_tenant() -> None:
    keys = ProducerKeys(SECRET)

    assert keys.secret_for(GATEWAY_PRODUCER, tenant="anyone") == producer_secret(
        SECRET, GATEWAY_PRODUCER
    )


def test_producer_speaks_for_its_tenants_only() -> None:
    keys = ProducerKeys(SECRET)
    keys.put(billing())

    assert keys.secret_for("billing", tenant="acme") is not None
    assert keys.secret_for("billing", tenant="beta") is None
    assert keys.secret_for("stranger", tenant="acme") is None


def test_new_generation_voids_the_former_secret() -> None:
    keys = ProducerKeys(SECRET)
    keys.put(billing())
    before = keys.secret_for("billing", tenant="acme")
    keys.put(billing(generation=2))

    assert keys.secret_for("billing", tenant="acme") != before


def test_revoked_producer_is_refused() -> None:
    keys = ProducerKeys(SECRET)
    keys.put(billing())
    keys.put(billing(revoked_at=NOW))

    assert keys.secret_for("billing", tenant="acme") is None
    assert len(keys) == 0


def test_nobody_can_register_the_name_of_the_gateway() -> None:
    keys = ProducerKeys(SECRET)
    keys.put(billing(id=GATEWAY_PRODUCER, revoked_at=None))

    assert keys.secret_for(GATEWAY_PRODUCER, tenant="x") == producer_secret(
        SECRET, GATEWAY_PRODUCER
    )
    assert len(keys) == 0


def test_table_takes_records_in_and_out() -> None:
    credentials, keys, producers = table()
    key = make_api_key(tenant="acme", user="ann", scope=Scope.USER, now=NOW)
    for credential in (key.record, billing()):
        record = credential_record(credential, source="/test", now=NOW, event_id="1")
        credentials.apply((record.key or b"").decode(), record.value, record.headers)
    assert keys.authenticate(key.token).tenant == "acme"
    assert producers.secret_for("billing", tenant="acme") is not None

    credentials.apply(key.record.id, None)
    credentials.apply("billing", None)

    assert len(keys) == len(producers) == 0


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"type":"root"}', b"\xff", b"null"])
def test_broken_record_leaves_the_older_word(value: bytes) -> None:
    credentials, keys, _ = table()
    key = make_api_key(tenant="acme", user="ann", scope=Scope.USER, now=NOW)
    keys.put(key.record)

    credentials.apply(key.record.id, value)

    assert keys.lapse_of(key.record.id) is None


def test_record_under_a_foreign_key_is_not_believed() -> None:
    credentials, keys, _ = table()
    key = make_api_key(tenant="acme", user="ann", scope=Scope.ADMIN, now=NOW)
    record = credential_record(key.record, source="/test", now=NOW, event_id="1")

    credentials.apply("other", record.value)

    assert len(keys) == 0
