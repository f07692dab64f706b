"""Rules of `ai.control.v1` as lanes understand them: pause, demote, drop or limit what is named."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cached_property
from typing import Any, Final

import orjson
import structlog
from penstock_contracts.control import ControlRule, Selector
from penstock_contracts.envelope import decode_event
from penstock_contracts.errors import ContractError

from penstock_kit.claims import needs_no_order, tenant_of
from penstock_kit.clock import Clock, SystemClock
from penstock_kit.kafka.ports import Record
from penstock_kit.lanes.rules import Verdict

__all__ = ["RuleBook", "needs_no_order", "tenant_of"]

log = structlog.get_logger(__name__)

_LONGEST_TIMER_S: Final = 3600.0
"""Clocks are set and processes sleep: an expiry is looked at again at least this often."""

_MISSING: Final = object()


class RuleBook:
    """Implements the lanes' `Rules`; fed by a `ControlBoard`. On the event loop.

    Several rules may be about one record: drop counts before pause, pause before limit and demote;
    all limits count. The body is read only if a rule names a task, model or argument, or if the
    tenant is in it (structured mode).

    Args:
        default_model: the model that a task of this name uses when the request names none.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        default_model: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._default_model = default_model
        self._rules: dict[str, ControlRule] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def rules(self) -> tuple[ControlRule, ...]:
        """The rules in force, by name."""
        return tuple(self._rules[name] for name in sorted(self._rules))

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back when a rule came, went or expired."""
        self._callbacks.append(callback)

    def put(self, rule: ControlRule) -> None:
        """A rule is in force from now on, instead of one of the same name."""
        if rule.action == "limit" and rule.limit is None:
            log.error("control.limit_without_number", rule=rule.name)
            return
        if self._rules.get(rule.name) == rule:
            return
        self._rules[rule.name] = rule
        log.info("control.rule", rule=rule.name, action=rule.action, by=rule.by)
        self._changed()

    def remove(self, name: str) -> None:
        """A rule is in force no more."""
        if self._rules.pop(name, None) is not None:
            log.info("control.rule_removed", rule=name)
            self._changed()

    def stop(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def verdict(self, record: Record) -> Verdict | None:
        """What holds for a record; None if no rule is about it."""
        if not self._rules:
            return None
        facts = _Facts(record, self._default_model)
        matching = [rule for rule in self._rules.values() if facts.match(rule.selector)]
        if not matching:
            return None
        return Verdict(
            dropped_by=_first(matching, "drop"),
            held_by=_first(matching, "pause"),
            limits=tuple(
                (rule.name, rule.limit)
                for rule in matching
                if rule.action == "limit" and rule.limit is not None
            ),
            is_demoted=_first(matching, "demote") is not None,
        )

    def _changed(self) -> None:
        self._expire()
        for callback in self._callbacks:
            callback()

    def _expire(self) -> None:
        """Drop what has expired and set the timer for what expires next."""
        now = self._clock.now()
        for rule in [rule for rule in self._rules.values() if _is_over(rule, now)]:
            del self._rules[rule.name]
            log.info("control.rule_expired", rule=rule.name)
        self.stop()
        moments = [rule.expires_at for rule in self._rules.values() if rule.expires_at is not None]
        if moments:
            delay_s = max(0.0, (min(moments) - now).total_seconds())
            self._timer = asyncio.get_running_loop().call_later(
                min(delay_s, _LONGEST_TIMER_S), self._changed
            )


class _Facts:
    """What rules may ask of a record, read when it is asked for."""

    def __init__(self, record: Record, default_model: Callable[[str], str | None]) -> None:
        self._record = record
        self._default_model = default_model
        self._body: dict[str, Any] | None = None

    @cached_property
    def _tenant(self) -> str | None:
        return tenant_of(self._record)

    def match(self, selector: Selector) -> bool:
        if selector.tenant is not None and selector.tenant != self._tenant:
            return False
        if selector.task is None and selector.model is None and not selector.argument:
            return True
        body = self._read()
        task = body.get("task")
        if selector.task is not None and selector.task != task:
            return False
        if selector.model is not None and selector.model != self._model(body, task):
            return False
        given = body.get("input")
        return all(_at(given, path) == wanted for path, wanted in selector.argument.items())

    def _model(self, body: dict[str, Any], task: object) -> object:
        return body.get("model") or (self._default_model(task) if isinstance(task, str) else None)

    def _read(self) -> dict[str, Any]:
        """The request's body; empty where none can be read: its handler refuses it."""
        if self._body is None:
            try:
                _, data = decode_event(self._record.headers, self._record.value)
                body = orjson.loads(data)
            except (ContractError, ValueError):
                body = None
            self._body = body if isinstance(body, dict) else {}
        return self._body


def _first(rules: Iterable[ControlRule], action: str) -> str | None:
    return next((rule.name for rule in rules if rule.action == action), None)


def _is_over(rule: ControlRule, now: datetime) -> bool:
    return rule.expires_at is not None and rule.expires_at <= now


def _at(value: Any, path: str) -> object:
    """The value at a dotted path; numbers step into lists."""
    for step in path.split("."):
        if isinstance(value, dict):
            value = value.get(step, _MISSING)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _MISSING
    return value
