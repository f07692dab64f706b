"""The rules of a deployment, read from and written to `ai.control.v1`."""

from __future__ import annotations

from penstock_contracts.control import ControlRule
from penstock_kit.clock import Clock
from penstock_kit.control import ControlBoard, rule_record, rule_tombstone
from penstock_kit.errors import PenstockError
from penstock_kit.kafka.ports import OutRecord
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.rule_book import RuleBook
from penstock_kit.settings import KafkaSettings

__all__ = ["ControlLog", "NoRule"]

_SOURCE = "penstock/control"


class NoRule(PenstockError):
    """There is no rule of that name; the message names the command that lists all."""


class ControlLog:
    """All rules in force; what is written here counts in every worker within moments."""

    def __init__(self, settings: KafkaSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    async def read(self) -> tuple[ControlRule, ...]:
        """The rules in force, by name; as workers understand the topic."""
        board = ControlBoard(
            self._settings,
            KafkaProducer(self._settings, client_id=_SOURCE),
            rules=RuleBook(self._clock),
        )
        try:
            await board.start()
            return board.rules.rules
        finally:
            await board.stop()

    async def put(self, rule: ControlRule) -> None:
        """Put a rule into force, instead of one of the same name.

        Raises:
            DeliveryUnknown: no acknowledgement; putting it again is harmless.
        """
        await self._write([rule_record(rule, source=_SOURCE)])

    async def clear(self, names: list[str] | None) -> tuple[str, ...]:
        """Take rules back, all if none is named; the names of those that were in force.

        Raises:
            NoRule: one of them is not in force; nothing was written.
            DeliveryUnknown: no acknowledgement; doing it again is harmless.
        """
        known = {rule.name for rule in await self.read()}
        for name in names or ():
            if name not in known:
                raise NoRule(
                    f"there is no rule {name!r} in force; `penstock control list` shows all names"
                )
        chosen = tuple(sorted(names or known))
        await self._write([rule_tombstone(name) for name in chosen])
        return chosen

    async def _write(self, records: list[OutRecord]) -> None:
        producer = KafkaProducer(self._settings, client_id=_SOURCE)
        await producer.start()
        try:
            for record in records:
                await producer.send(record)
        finally:
            await producer.stop()
