"""`penstock webhook`: endpoints of all tenants, for operators."""

from __future__ import annotations

import asyncio
from typing import Annotated
from urllib.parse import urlsplit

import typer
from penstock_contracts.webhooks import WebhookEndpoint
from penstock_kit.clock import SystemClock
from penstock_kit.webhooks.endpoints import EndpointView
from penstock_kit.webhooks.secrets import WebhookSecrets
from penstock_kit.webhooks.urls import BadUrl
from pydantic import ValidationError

from penstock.cli.console import Out, failing_well
from penstock.cli.target import DataOption, JsonOption, KafkaOption, Target
from penstock.errors import WrongUse
from penstock.operating import webhooks
from penstock.operating.webhooks import WebhookLog

__all__ = ["add", "disable", "enable", "list_all", "remove", "rotate"]

EndpointArgument = Annotated[str, typer.Argument(help="Id of the endpoint.")]
TenantOption = Annotated[str, typer.Option("--tenant", help="Whose events it is told.")]
OptionalTenant = Annotated[
    str | None, typer.Option("--tenant", help="Only endpoints of this tenant.")
]
EventsOption = Annotated[
    str, typer.Option("--events", help="Events, separated by commas: response.completed,batch.*")
]
DescriptionOption = Annotated[str, typer.Option("--description", help="What it is for.")]


def add(
    url: Annotated[str, typer.Argument(help="https address that is to be told.")],
    *,
    tenant: TenantOption,
    events: EventsOption = "*",
    description: DescriptionOption = "",
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Make an endpoint. Its secret is shown once and kept nowhere."""
    with failing_well(json=json):
        target, out = Target(data=data, given_kafka=kafka), Out(json=json)
        try:
            made = webhooks.new_endpoint(
                tenant=tenant,
                url=target.webhooks.url_rules().parse(url).url,
                events=[event.strip() for event in events.split(",")],
                description=description,
                now=SystemClock().now(),
            )
        except BadUrl as error:
            raise WrongUse(str(error)) from error
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"])
            raise WrongUse(f"{field}: {problem['msg']}; correct it") from error
        asyncio.run(_log(target).write(made))
        _show_secret(target, out, made)


def list_all(
    *,
    tenant: OptionalTenant = None,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Show endpoints; secrets are never shown again."""
    with failing_well(json=json):
        out = Out(json=json)
        views = asyncio.run(_log(Target(data=data, given_kafka=kafka)).read())
        found = [view for view in views if tenant in (None, view.endpoint.tenant)]
        out.document([_public(view) for view in found])
        out.table(
            ("id", "tenant", "host", "events", "state", "last success", "description"),
            [_row(view) for view in found],
        )


def rotate(
    endpoint: EndpointArgument,
    *,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Give it a new secret, shown once; the old one signs beside it for a while."""
    with failing_well(json=json):
        target, out = Target(data=data, given_kafka=kafka), Out(json=json)
        view = asyncio.run(_log(target).find(endpoint))
        fresh = webhooks.rotated(
            view.endpoint, now=SystemClock().now(), overlap=target.webhooks.secret_overlap
        )
        asyncio.run(_log(target).write(fresh))
        _show_secret(target, out, fresh)


def disable(
    endpoint: EndpointArgument,
    *,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Stop deliveries to it; what is on its way is dropped."""
    with failing_well(json=json):
        target, out = Target(data=data, given_kafka=kafka), Out(json=json)
        view = asyncio.run(_log(target).find(endpoint))
        asyncio.run(_log(target).write(webhooks.disabled(view.endpoint)))
        out.document({"id": endpoint, "enabled": False})
        out.say(f"disabled {endpoint}")


def enable(
    endpoint: EndpointArgument,
    *,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Deliver to it again, whether it was disabled or suspended."""
    with failing_well(json=json):
        target, out = Target(data=data, given_kafka=kafka), Out(json=json)
        view = asyncio.run(_log(target).find(endpoint))
        now = SystemClock().now()
        asyncio.run(_log(target).write(webhooks.enabled(view.endpoint, now=now)))
        out.document({"id": endpoint, "enabled": True})
        out.say(f"enabled {endpoint}")


def remove(
    endpoint: EndpointArgument,
    *,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Forget it; what is on its way to it is dropped."""
    with failing_well(json=json):
        target, out = Target(data=data, given_kafka=kafka), Out(json=json)
        asyncio.run(_log(target).find(endpoint))
        asyncio.run(_log(target).remove(endpoint))
        out.document({"id": endpoint, "deleted": True})
        out.say(f"removed {endpoint}")


def _log(target: Target) -> WebhookLog:
    return WebhookLog(target.kafka, clock=SystemClock())


def _show_secret(target: Target, out: Out, endpoint: WebhookEndpoint) -> None:
    secret = WebhookSecrets(target.id_secret).present(endpoint)
    out.document({"id": endpoint.id, "secret": secret})
    out.say(f"{endpoint.id}\n{secret}")


def _public(view: EndpointView) -> dict[str, object]:
    hidden = {"fingerprint", "rotation_key"}
    found = view.endpoint.model_dump(mode="json", exclude=hidden, exclude_none=True)
    found["state"] = _state(view)
    if view.last_success_at is not None:
        found["last_success_at"] = view.last_success_at.isoformat()
    return found


def _row(view: EndpointView) -> tuple[object, ...]:
    endpoint = view.endpoint
    success = view.last_success_at
    return (
        endpoint.id,
        endpoint.tenant,
        urlsplit(endpoint.url).hostname,  # the rest may hold a token
        ",".join(endpoint.events),
        _state(view),
        None if success is None else f"{success:%Y-%m-%d %H:%M}",
        endpoint.description,
    )


def _state(view: EndpointView) -> str:
    if not view.endpoint.enabled:
        return "disabled"
    return "live" if view.suspension is None else f"suspended: {view.suspension.reason.value}"
