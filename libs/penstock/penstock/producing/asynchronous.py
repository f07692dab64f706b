"""The asynchronous event producer."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from penstock_contracts.replies import ReplyAddress
from penstock_kit.clock import Clock, SystemClock
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.settings import KafkaSettings

from penstock.producing.events import ProducerIdentity, request_event

__all__ = ["EventProducer"]


class EventProducer:
    """Writes jobs straight into the log. Use it as an asynchronous context manager.

    `security` are librdkafka properties, for example `{"security.protocol": "SASL_SSL", ...}`.
    """

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
        settings = KafkaSettings.model_validate(
            {"bootstrap": bootstrap, "security": dict(security or {})}
        )
        self._producer = KafkaProducer(settings, client_id=identity.source)

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._producer.stop()

    async def send(
        self,
        task: str,
        input: Mapping[str, Any],  # noqa: A002 - the name that the contract has
        *,
        event_id: str | None = None,
        topic: str | None = None,
        reply: ReplyAddress | None = None,
        **members: Any,
    ) -> str:
        """Write the job and return its id once all in-sync replicas have it.

        The same `event_id` is the same job: choose one (an order number, say) wherever the call may
        be repeated. `members` are those of `JobRequest`. `reply`: the topic that is told how the
        job ended, and a correlation id that comes with it.

        Raises:
            ContractError: a member is wrong; nothing was written.
            RecordRefused: never: too large, no such topic, or no right to write.
            DeliveryUnknown: no acknowledgement in time; send again with the same `event_id`.
        """
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
        await self._producer.send(event.record)
        return event.job
