"""`penstock token`: API keys and producers."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Annotated

import typer
from penstock_contracts.credentials import ApiKey, Producer, Scope
from penstock_kit.auth.api_keys import make_api_key
from penstock_kit.auth.producers import GATEWAY_PRODUCER, producer_secret
from penstock_kit.clock import SystemClock
from pydantic import ValidationError

from penstock.cli.console import Out, failing_well
from penstock.cli.target import DataOption, JsonOption, KafkaOption, Target
from penstock.errors import WrongUse
from penstock.operating.credentials import CredentialLog

__all__ = ["create", "list_all", "revoke"]

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=36_525)
"""The calendar ends with the year 9999."""

TenantOption = Annotated[str | None, typer.Option("--tenant", help="Whose jobs the key reaches.")]
UserOption = Annotated[str | None, typer.Option("--user", help="Whose name the jobs bear.")]
ScopeOption = Annotated[Scope, typer.Option("--scope", help="How far the key reaches.")]
NameOption = Annotated[str, typer.Option("--name", help="What the key is for.")]
ExpiresOption = Annotated[
    str | None, typer.Option("--expires-in", help="For example 30m, 12h, 90d; default never.")
]
ProducerOption = Annotated[
    str | None,
    typer.Option("--producer", help="Make a producer of this id instead of an API key."),
]
TenantsOption = Annotated[
    str | None, typer.Option("--tenants", help="Tenants of the producer, separated by commas.")
]


def create(
    *,
    tenant: TenantOption = None,
    user: UserOption = None,
    scope: ScopeOption = Scope.USER,
    name: NameOption = "",
    expires_in: ExpiresOption = None,
    producer: ProducerOption = None,
    tenants: TenantsOption = None,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Make an API key, or with --producer a signing secret. It is shown once and kept nowhere."""
    with failing_well(json=json):
        target, out = Target(data=data, given_kafka=kafka), Out(json=json)
        try:
            if producer is not None:
                _create_producer(target, out, producer, (tenants or tenant or "").split(","))
                return
            if tenant is None or user is None:
                raise WrongUse("an API key needs --tenant and --user; give both")
            made = make_api_key(
                tenant=tenant,
                user=user,
                scope=scope,
                now=SystemClock().now(),
                name=name,
                expires_at=SystemClock().now() + duration(expires_in) if expires_in else None,
            )
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"])
            raise WrongUse(f"{field}: {problem['msg']}; correct it") from error
        asyncio.run(_log(target).write(made.record))
        out.document({"token": made.token, "credential": _public(made.record)})
        out.say(made.token)


def list_all(
    *, kafka: KafkaOption = None, data: DataOption = None, json: JsonOption = False
) -> None:
    """Show every key and producer; secrets are not known to anybody."""
    with failing_well(json=json):
        out = Out(json=json)
        found = asyncio.run(_log(Target(data=data, given_kafka=kafka)).read())
        out.document([_public(credential) for credential in found])
        out.table(
            ("id", "kind", "tenant", "user", "scope", "state", "name"),
            [_row(credential) for credential in found],
        )


def revoke(
    credential: Annotated[str, typer.Argument(help="Id of the key or producer.")],
    *,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Void a key or producer; services refuse it within moments."""
    with failing_well(json=json):
        out = Out(json=json)
        void = asyncio.run(_log(Target(data=data, given_kafka=kafka)).revoke(credential))
        out.document(_public(void))
        out.say(f"revoked {void.id}")


def duration(text: str) -> timedelta:
    """`90d` as a duration, at most a hundred years.

    Raises:
        WrongUse: another form, or longer.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", text)
    if match is None:
        raise WrongUse(f"{text!r} is no duration; write for example 30m, 12h, 90d or 4w")
    found = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if found > _LONGEST:
        raise WrongUse(f"{text!r} is longer than a hundred years; leave the option out instead")
    return found


def _create_producer(target: Target, out: Out, name: str, tenants: list[str]) -> None:
    if name == GATEWAY_PRODUCER:
        raise WrongUse(f"{name!r} is the name of the gateways; choose another")
    made = Producer(
        id=name,
        tenants=[tenant for tenant in tenants if tenant],
        created_at=SystemClock().now(),
    )
    if not made.tenants:
        raise WrongUse("a producer speaks for tenants; name them with --tenants")
    secret = producer_secret(target.id_secret, name, generation=made.generation).hex()
    asyncio.run(_log(target).write(made))
    out.document({"secret": secret, "credential": _public(made)})
    out.say(secret)


def _log(target: Target) -> CredentialLog:
    return CredentialLog(target.kafka, clock=SystemClock())


def _public(credential: ApiKey | Producer) -> dict[str, object]:
    return credential.model_dump(mode="json", exclude={"sha256"}, exclude_none=True)


def _row(credential: ApiKey | Producer) -> tuple[object, ...]:
    state = "live"
    if credential.revoked_at is not None:
        state = "revoked"
    elif isinstance(credential, ApiKey) and credential.expires_at is not None:
        is_over = credential.expires_at <= SystemClock().now()
        state = "expired" if is_over else f"until {credential.expires_at:%Y-%m-%d %H:%M}"
    if isinstance(credential, Producer):
        return credential.id, "producer", ", ".join(credential.tenants), "", "", state, ""
    owner = (credential.tenant, credential.user, credential.scope.value)
    return credential.id, "key", *owner, state, credential.name
