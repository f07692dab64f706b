"""The synchronous event producer, for programs without an event loop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from confluent_kafka import KafkaError, Message
from penstock_contracts.replies import ReplyAddress
from penstock_kit.clock import Clock, SystemClock
from penstock_kit.errors import PenstockError
from penstock_kit.kafka.errors import delivery_error
from penstock_kit.kafka.factory import make_producer
from penstock_kit.kafka.ports import DeliveryUnknown
from penstock_kit.settings import KafkaSettings

from penstock.producing.events import ProducerIdentity, RequestEvent, request_event

__all__ = ["SyncEventProducer"]

_POLL_S = 1.0
"""An acknowledgement ends the wait at once; this only bounds how late we notice the end of time."""


class SyncEventProducer:
    """Writes jobs straight into the log. A context manager; not for two threads at once."""

    def __init__(
        self,
        bootstrap: str,
        identity: ProducerIdentity,
        *,
        security: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._identity = identity
        self._clock = clock or SystemClock()
        self._settings = KafkaSettings.model_validate(
            {"bootstrap": bootstrap, "security": dict(security or {})}
        )
        self._client = make_producer(self._settings, client_id=identity.source, overrides={})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.flush(self._settings.delivery_timeout.total_seconds())

    def send(
        self,
        task: str,
        input: Mapping[str, Any],  # noqa: A002 - the name that the contract has
        *,
        event_id: str | None = None,
        topic: str | None = None,
        reply: ReplyAddress | None = None,
        **members: Any,
    ) -> str:
        """Write the job and return its id once it is in the log; as `EventProducer.send`."""
        event = request_event(
            self._identity,
            task,
            input,
            event_id=event_id or uuid4().hex,
            now=self._clock.now(),
            topic=topic,
            reply=reply,
            **members,
        )
        self._write(event)
        return event.job

    def _write(self, event: RequestEvent) -> None:
        outcome: list[PenstockError | None] = []

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            outcome.append(delivery_error(error, record.topic) if error is not None else None)

        record = event.record
        self._client.produce(
            record.topic,
            value=record.value,
            key=record.key,
            headers=list(record.headers),
            on_delivery=on_delivery,
        )
        # The client reports every record within its delivery time-out.
        deadline = time.monotonic() + self._settings.delivery_timeout.total_seconds() + _POLL_S
        while not outcome and time.monotonic() < deadline:
            self._client.poll(_POLL_S)
        if not outcome:
            raise DeliveryUnknown(
                f"no acknowledgement from topic {record.topic!r}; send again with the same event_id"
            )
        if outcome[0] is not None:
            raise outcome[0]
