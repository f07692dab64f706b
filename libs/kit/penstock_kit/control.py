"""What users and operators tell running workers, followed from `ai.control.v1`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from penstock_contracts.catalog import CE_CONTROL
from penstock_contracts.codec import encode_model
from penstock_contracts.control import CancelJob, ControlAdapter, ControlRule, control_key
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.topics import CONTROL
from pydantic import ValidationError

from penstock_kit.kafka.ports import Headers, OutRecord, Producer, ProducerFull
from penstock_kit.rule_book import RuleBook
from penstock_kit.settings import KafkaSettings
from penstock_kit.tail.table import TopicTable

__all__ = [
    "Cancel",
    "ControlBoard",
    "cancel_record",
    "cancel_tombstone",
    "rule_record",
    "rule_tombstone",
]

log = structlog.get_logger(__name__)

_MAX_CANCELS = 100_000
"""Remembered at once, about 20 MB; the oldest go first. Each is forgotten with its job."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody of `tenant` called `job` back."""

    job: str
    tenant: str
    by: str | None
    at: datetime


class ControlBoard:
    """A Part: knows which jobs are called back, from before the start and from then on.

    `tenant` is compared wherever a job is asked for: a cancel counts for a job of the same tenant
    only.

    Attributes:
        rules: the operator's rules of the same topic, for lanes.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        producer: Producer,
        *,
        max_cancels: int = _MAX_CANCELS,
        rules: RuleBook | None = None,
    ) -> None:
        self._producer = producer
        self._max_cancels = max_cancels
        self._cancels: OrderedDict[str, dict[str, Cancel]] = OrderedDict()
        self._callbacks: list[Callable[[Cancel], None]] = []
        self._table = TopicTable(settings, CONTROL.name, self.apply)
        self.rules = rules if rules is not None else RuleBook()

    @property
    def table(self) -> TopicTable:
        """The reader below, for health checks."""
        return self._table

    async def start(self) -> None:
        """Return when every cancel written so far is known."""
        await self._table.start()

    async def stop(self) -> None:
        """Stop following."""
        await self._table.stop()
        self.rules.stop()

    def is_cancelled(self, job: str, tenant: str) -> bool:
        """Whether this tenant called the job back."""
        return self.cancel_of(job, tenant) is not None

    def cancel_of(self, job: str, tenant: str) -> Cancel | None:
        """The cancel of this tenant's job, with who asked; None if there is none."""
        by_tenant = self._cancels.get(job)
        return by_tenant.get(tenant) if by_tenant is not None else None

    def on_cancel(self, callback: Callable[[Cancel], None]) -> None:
        """Call back for each new cancel, on the event loop; compare `tenant` before acting."""
        self._callbacks.append(callback)

    def forget(self, job: str) -> None:
        """Say that the job has ended: its cancel, if there was one, leaves the topic as well."""
        if self._cancels.pop(job, None) is None:
            return
        try:
            self._producer.send_soon(cancel_tombstone(job))
        except ProducerFull:
            # It costs a little memory until the topic's retention removes the record.
            log.debug("control.tombstone_skipped", job=job)

    def apply(self, key: str, value: bytes | None, headers: Headers = ()) -> None:
        """Take one record in; one that is broken or under a foreign key changes nothing."""
        del headers
        if value is None:
            self._cancels.pop(key.removeprefix("cancel:"), None)
            self.rules.remove(key.removeprefix("rule:"))
            return
        try:
            record = ControlAdapter.validate_json(value)
        except ValidationError as error:
            log.error(  # noqa: TRY400 - a traceback would quote the record
                "control.malformed", key=key, problems=error.error_count()
            )
            return
        if control_key(record) != key:
            log.error("control.wrong_key", key=key)
        elif isinstance(record, CancelJob):
            self._remember(Cancel(record.job, record.tenant, record.by, record.at))
        else:
            self.rules.put(record)

    def _remember(self, cancel: Cancel) -> None:
        by_tenant = self._cancels.setdefault(cancel.job, {})
        is_news = by_tenant.get(cancel.tenant) != cancel
        by_tenant[cancel.tenant] = cancel
        self._cancels.move_to_end(cancel.job)
        if len(self._cancels) > self._max_cancels:
            self._cancels.popitem(last=False)
        if is_news:
            for callback in self._callbacks:
                callback(cancel)


def cancel_record(
    job: str, *, tenant: str, by: str | None, now: datetime, source: str = "/penstock/gateway"
) -> OutRecord:
    """The record that calls a job back; the writer has checked that the job is the caller's."""
    cancel = CancelJob(job=job, tenant=tenant, by=by, at=now)
    envelope = Envelope(
        id=f"cancel/{job}/{now.timestamp():.3f}",
        source=source,
        type=CE_CONTROL,
        time=now,
        subject=job,
        tenant=tenant,
        user=by,
    )
    return OutRecord(
        topic=CONTROL.name,
        key=control_key(cancel).encode(),
        value=encode_model(cancel),
        headers=encode_headers(envelope),
    )


def cancel_tombstone(job: str) -> OutRecord:
    """The record that takes a cancel back once its job has ended."""
    return OutRecord(topic=CONTROL.name, key=f"cancel:{job}".encode(), value=None)


def rule_record(rule: ControlRule, *, source: str) -> OutRecord:
    """The record that puts a rule into force in every worker."""
    envelope = Envelope(
        id=f"rule/{rule.name}/{rule.at.timestamp():.3f}",
        source=source,
        type=CE_CONTROL,
        time=rule.at,
        subject=rule.name,
    )
    return OutRecord(
        topic=CONTROL.name,
        key=control_key(rule).encode(),
        value=encode_model(rule),
        headers=encode_headers(envelope),
    )


def rule_tombstone(name: str) -> OutRecord:
    """The record that takes a rule back."""
    return OutRecord(topic=CONTROL.name, key=f"rule:{name}".encode(), value=None)
