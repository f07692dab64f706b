"""Jobs straight into the log with both Python clients, as docs/direct-producers.md tells."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import datetime, timezone
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError as AioKafkaError
from confluent_kafka import KafkaError, Message, Producer

from tests.promises.journal import Journal
from tests.promises.load.plan import PlannedJob

__all__ = ["DirectProducers", "derived_id"]

_SOURCE = "rig/direct"
_TRIES = 20
_ACK_S = 30.0
_PAUSE_S = 0.5


def derived_id(tenant: str, event_id: str) -> str:
    """The id of a job that came as an event: SHA-256 over tenant, source and event id."""
    text = f"{tenant}\n{_SOURCE}\n{event_id}"
    return "job_" + hashlib.sha256(text.encode()).hexdigest()[:32]


class DirectProducers:
    """One producer of each client. A write is repeated, with the same event id, until acked."""

    def __init__(
        self, bootstrap: str, transcript: Journal, *, partitioner: str = "murmur2_random"
    ) -> None:
        self._bootstrap = bootstrap
        self._transcript = transcript
        self._partitioner = partitioner
        self._confluent: Producer | None = None
        self._aiokafka: AIOKafkaProducer | None = None
        self._poller: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect both."""
        self._confluent = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "partitioner": self._partitioner,
                "enable.idempotence": True,
                "delivery.timeout.ms": 20_000,
                "log_level": 0,
            }
        )
        self._poller = asyncio.create_task(self._poll(), name="confluent poll")
        self._aiokafka = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, enable_idempotence=True, request_timeout_ms=20_000
        )
        await self._aiokafka.start()

    async def stop(self) -> None:
        """Flush both."""
        if self._poller is not None and self._confluent is not None:
            self._poller.cancel()
            await asyncio.to_thread(self._confluent.flush, 10)
        if self._aiokafka is not None:
            await self._aiokafka.stop()

    async def submit(self, job: PlannedJob) -> str | None:
        """Write the job; its id once the log has it."""
        job_id = derived_id(job.tenant, job.key)
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", job.key.encode()),
            ("ce_source", _SOURCE.encode()),
            ("ce_type", b"penstock.job.request.v1"),
            ("ce_time", datetime.now(timezone.utc).isoformat().encode()),
            ("ce_tenant", job.tenant.encode()),
            ("ce_subject", job_id.encode()),
            ("content-type", b"application/json"),
        ]
        body: dict[str, Any] = {"task": job.task, "input": job.input(), "charge": job.charge}
        if job.conversation is not None:
            body["conversation"] = job.conversation
        value = json.dumps(body).encode()
        key = (job.conversation or job_id).encode()
        topic = f"ai.{job.task}.requests.v1"
        acked = 0
        for _ in range(_TRIES):
            place = await self.write(job.via, topic, key=key, value=value, headers=headers)
            self._transcript.write(
                number=job.number, via=job.via, job=job_id, acked=place is not None, place=place
            )
            acked += place is not None
            if acked == job.sends:  # the same event as often as that is the same job
                return job_id
            await asyncio.sleep(_PAUSE_S if place is None else 0)
        return job_id if acked else None

    async def write(
        self, via: str, topic: str, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> list[Any] | None:
        """One record; topic, partition and offset, or None if no acknowledgement came."""
        send = self._by_confluent if via == "confluent" else self._by_aiokafka
        try:
            async with asyncio.timeout(_ACK_S):
                return await send(topic, key=key, value=value, headers=headers)
        except (AioKafkaError, TimeoutError, BufferError):
            return None

    async def _by_confluent(
        self, topic: str, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> list[Any] | None:
        assert self._confluent is not None
        done: asyncio.Future[list[Any] | None] = asyncio.get_running_loop().create_future()

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if not done.done():
                done.set_result(
                    None if error else [message.topic(), message.partition(), message.offset()]
                )

        self._confluent.produce(
            topic, value=value, key=key, headers=list(headers), on_delivery=on_delivery
        )
        return await done

    async def _by_aiokafka(
        self, topic: str, *, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> list[Any] | None:
        assert self._aiokafka is not None
        place = await self._aiokafka.send_and_wait(topic, key=key, value=value, headers=headers)
        return [place.topic, place.partition, place.offset]

    async def _poll(self) -> None:
        """Acknowledgements arrive on our loop: `poll(0)` runs the callbacks here."""
        assert self._confluent is not None
        while True:
            self._confluent.poll(0)
            await asyncio.sleep(0.005)
