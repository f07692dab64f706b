"""`penstock control`: rules for records that wait, in force in every worker without a restart."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
import typer
from penstock_contracts.control import ControlRule, Selector
from penstock_kit.clock import SystemClock
from pydantic import JsonValue, ValidationError

from penstock.cli.console import Out, failing_well
from penstock.cli.rule_names import rule_name
from penstock.cli.target import DataOption, JsonOption, KafkaOption, Target
from penstock.cli.tokens import duration
from penstock.cli.who import operator
from penstock.errors import WrongUse
from penstock.operating.control import ControlLog

__all__ = ["clear", "demote", "drop", "limit", "list_all", "pause"]

Action = Literal["pause", "demote", "drop", "limit"]

TenantOption = Annotated[str | None, typer.Option("--tenant", help="Only records of this tenant.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="Only records of this task.")]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Only requests that would run on this model.")
]
ArgumentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--argument",
        help="Only where the input has this value: path=value, e.g. template=letter; repeatable.",
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every record; instead of a selector.")]
ForOption = Annotated[
    str | None, typer.Option("--for", help="How long: 30m, 12h, 7d; default until it is cleared.")
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the rule; default from what it says.")
]


def pause(
    *,
    tenant: TenantOption = None,
    task: TaskOption = None,
    model: ModelOption = None,
    argument: ArgumentOption = None,
    everything: AllOption = False,
    lasting: ForOption = None,
    name: NameOption = None,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Keep matching records waiting until the rule is cleared or over; running ones go on."""
    selector = _Selector(tenant, task, model, argument, everything=everything)
    _put(
        "pause",
        selector,
        most=None,
        lasting=lasting,
        name=name,
        target=Target(data=data, given_kafka=kafka),
        json=json,
    )


def demote(
    *,
    tenant: TenantOption = None,
    task: TaskOption = None,
    model: ModelOption = None,
    argument: ArgumentOption = None,
    everything: AllOption = False,
    lasting: ForOption = None,
    name: NameOption = None,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Run matching records with the low ones, whatever their priority."""
    selector = _Selector(tenant, task, model, argument, everything=everything)
    _put(
        "demote",
        selector,
        most=None,
        lasting=lasting,
        name=name,
        target=Target(data=data, given_kafka=kafka),
        json=json,
    )


def drop(
    *,
    tenant: TenantOption = None,
    task: TaskOption = None,
    model: ModelOption = None,
    argument: ArgumentOption = None,
    everything: AllOption = False,
    lasting: ForOption = None,
    name: NameOption = None,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """End matching jobs as cancelled instead of running them, free of charge."""
    selector = _Selector(tenant, task, model, argument, everything=everything)
    _put(
        "drop",
        selector,
        most=None,
        lasting=lasting,
        name=name,
        target=Target(data=data, given_kafka=kafka),
        json=json,
    )


def limit(
    most: Annotated[int, typer.Argument(min=0, help="Records in flight per worker process.")],
    *,
    tenant: TenantOption = None,
    task: TaskOption = None,
    model: ModelOption = None,
    argument: ArgumentOption = None,
    everything: AllOption = False,
    lasting: ForOption = None,
    name: NameOption = None,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Let at most so many matching records run at once in each worker process."""
    selector = _Selector(tenant, task, model, argument, everything=everything)
    _put(
        "limit",
        selector,
        most=most,
        lasting=lasting,
        name=name,
        target=Target(data=data, given_kafka=kafka),
        json=json,
    )


def list_all(
    *, kafka: KafkaOption = None, data: DataOption = None, json: JsonOption = False
) -> None:
    """Show the rules in force."""
    with failing_well(json=json):
        out = Out(json=json)
        rules = asyncio.run(_log(Target(data=data, given_kafka=kafka)).read())
        out.document([_document(rule) for rule in rules])
        if not rules:
            out.say("no rule is in force; every record runs when it is its turn")
            return
        out.table(
            ("name", "action", "selector", "until", "by"),
            [
                (
                    rule.name,
                    rule.action if rule.limit is None else f"{rule.action} {rule.limit}",
                    _words(rule.selector),
                    _moment(rule.expires_at) or "cleared",
                    rule.by,
                )
                for rule in rules
            ],
        )


def clear(
    names: Annotated[list[str] | None, typer.Argument(help="Rules to take back.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Take all rules back.")] = False,
    kafka: KafkaOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Take rules back; what they held goes on at once."""
    with failing_well(json=json):
        if bool(names) == everything:
            raise WrongUse("name the rules to clear, or give --all; not both")
        out = Out(json=json)
        cleared = asyncio.run(_log(Target(data=data, given_kafka=kafka)).clear(names))
        out.document({"cleared": list(cleared)})
        out.say(f"cleared {', '.join(cleared)}" if cleared else "no rule was in force")


class _Selector:
    """The options that name records, checked when they are put together."""

    def __init__(
        self,
        tenant: str | None,
        task: str | None,
        model: str | None,
        argument: list[str] | None,
        *,
        everything: bool,
    ) -> None:
        self._given = {"tenant": tenant, "task": task, "model": model}
        self._argument = argument or []
        self._everything = everything

    def build(self) -> Selector:
        """The selector.

        Raises:
            WrongUse: nothing is named and --all is not given, or the other way round.
        """
        is_empty = not self._argument and not any(self._given.values())
        if is_empty != self._everything:
            raise WrongUse(
                "the rule names no records; give --tenant, --task, --model or --argument, or --all "
                "for every record"
                if is_empty
                else "--all and a selector contradict each other; leave one out"
            )
        pairs = (_assignment(text) for text in self._argument)
        return Selector.model_validate({**self._given, "argument": dict(pairs)})


def _put(
    action: Action,
    selector: _Selector,
    *,
    most: int | None,
    lasting: str | None,
    name: str | None,
    target: Target,
    json: bool,
) -> None:
    with failing_well(json=json):
        now = SystemClock().now()
        try:
            chosen = selector.build()
            rule = ControlRule(
                name=name or rule_name(action, chosen),
                action=action,
                selector=chosen,
                limit=most,
                by=operator(),
                at=now,
                expires_at=now + duration(lasting) if lasting else None,
            )
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"])
            raise WrongUse(f"{field}: {problem['msg']}; correct it") from error
        asyncio.run(_log(target).put(rule))
        out = Out(json=json)
        out.document(_document(rule))
        until = f"until {_moment(rule.expires_at)}" if rule.expires_at else "until it is cleared"
        out.say(
            f"rule {rule.name} is in force {until}: {action} {_words(chosen)}; "
            f"take it back with `penstock control clear {rule.name}`"
        )


def _log(target: Target) -> ControlLog:
    return ControlLog(target.kafka, clock=SystemClock())


def _assignment(text: str) -> tuple[str, JsonValue]:
    """`path=value`; a value that is JSON is taken as that, everything else as text."""
    path, is_given, value = text.partition("=")
    if not is_given or not path:
        raise WrongUse(f"{text!r} is no argument; write path=value, for example template=letter")
    try:
        return path, orjson.loads(value)
    except orjson.JSONDecodeError:
        return path, value


def _words(selector: Selector) -> str:
    given = [
        f"{name}={value}"
        for name, value in (
            ("tenant", selector.tenant),
            ("task", selector.task),
            ("model", selector.model),
        )
        if value is not None
    ]
    given += [f"{path}={orjson.dumps(value).decode()}" for path, value in selector.argument.items()]
    return " ".join(given) or "everything"


def _moment(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at is not None else None


def _document(rule: ControlRule) -> dict[str, Any]:
    document: dict[str, Any] = rule.model_dump(mode="json", exclude_none=True)
    return document
