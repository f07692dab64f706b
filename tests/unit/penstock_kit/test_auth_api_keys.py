from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from penstock_contracts.credentials import ApiKey, Scope
from penstock_kit.auth.api_keys import ApiKeys, NewApiKey, make_api_key
from penstock_kit.auth.principal import AuthError

from tests.support.clock import HandClock

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def new_key(*, expires_at: datetime | None = None) -> NewApiKey:
    return make_api_key(
        tenant="acme", user="ann", scope=Scope.TENANT, now=NOW, expires_at=expires_at
    )


def test_authenticate_with_the_right_secret_gives_the_holder() -> None:
    key, table = new_key(), ApiKeys(HandClock(NOW))
    table.put(key.record)

    principal = table.authenticate(key.token)

    assert (principal.tenant, principal.user, principal.level) == ("acme", "ann", Scope.TENANT)
    assert principal.credential == key.record.id
    assert key.token.partition(".")[2] not in key.record.model_dump_json()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
        lambda token: token.partition(".")[0],
        lambda token: token + "\n",
        lambda token: "pk_" + "0" * 16 + "." + token.partition(".")[2],
        lambda token: token.replace("pk_", "PK_"),
        lambda token: token + "é",
        lambda _token: "pk_." + "a" * 10_000,
    ],
)
def test_authenticate_with_a_spoilt_key_is_refused_alike(spoil: object) -> None:
    key, table = new_key(), ApiKeys(HandClock(NOW))
    table.put(key.record)

    with pytest.raises(AuthError, match="penstock token create") as refused:
        table.authenticate(spoil(key.token))  # type: ignore[operator] # parametrised lambdas

    assert refused.value.code == "invalid_api_key"
    assert key.token not in str(refused.value)


def test_authenticate_after_the_end_tells_that_the_key_expired() -> None:
    clock = HandClock(NOW)
    key, table = new_key(expires_at=NOW + timedelta(hours=1)), ApiKeys(clock)
    table.put(key.record)
    assert table.lapse_of(key.record.id) is None

    clock.advance(timedelta(hours=1))

    with pytest.raises(AuthError) as refused:
        table.authenticate(key.token)
    lapse = table.lapse_of(key.record.id)
    assert lapse is not None
    assert refused.value.code == lapse.code == "expired_api_key"


def test_authenticate_with_a_revoked_key_tells_so_only_to_its_holder() -> None:
    key, table = new_key(), ApiKeys(HandClock(NOW))
    table.put(key.record.model_copy(update={"revoked_at": NOW}))

    with pytest.raises(AuthError) as refused:
        table.authenticate(key.token)
    with pytest.raises(AuthError) as guessed:
        table.authenticate(f"pk_{key.record.id}.{'a' * 64}")

    lapse = table.lapse_of(key.record.id)
    assert lapse is not None
    assert refused.value.code == lapse.code == "revoked_api_key"
    assert guessed.value.code == "invalid_api_key"


def test_removed_key_is_unknown() -> None:
    key, table = new_key(), ApiKeys(HandClock(NOW))
    table.put(key.record)
    table.remove(key.record.id)
    table.remove("never-there")

    with pytest.raises(AuthError):
        table.authenticate(key.token)
    lapse = table.lapse_of(key.record.id)
    assert lapse is not None
    assert lapse.code == "revoked_api_key"
    assert len(table) == 0


def test_new_keys_differ_and_carry_256_random_bits() -> None:
    keys = [new_key() for _ in range(50)]

    assert len({key.token for key in keys}) == 50
    assert all(len(key.token.partition(".")[2]) == 64 for key in keys)
    assert isinstance(replace(keys[0]).record, ApiKey)
