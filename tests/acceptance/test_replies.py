"""A service that speaks Kafka alone: it asks for jobs, and reads their ends in its own topic."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import orjson
import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from penstock import AsyncClient, EventProducer, ProducerIdentity, ReplyAddress, reply_topic
from penstock_contracts.envelope import decode_event

from tests.acceptance.conftest import StackStarter
from tests.support.provider_process import fake_provider

COUNT = 5


@pytest.mark.timeout(200)
async def test_ends_of_jobs_come_to_the_topic_that_their_producer_named(
    start_stack: StackStarter, tmp_path: Path
) -> None:
    with fake_provider(tmp_path, script="tokens=20;rate=200") as provider:
        stack = start_stack(providers=provider.providers)
        bootstrap, topic = stack.dev.kafka, reply_topic("tests", "dev")
        await asyncio.to_thread(_create, bootstrap, topic)
        jobs = {}
        async with EventProducer(bootstrap, ProducerIdentity(tenant="dev", source="t")) as producer:
            for number in range(COUNT):
                chat = {"messages": [{"role": "user", "content": f"say {number}"}]}
                reply = ReplyAddress(topic, f"call-{number}")
                job = await producer.send("chat", chat, model="fake", reply=reply)
                jobs[f"call-{number}"] = job
            refused = await producer.send(
                "chat",
                {"messages": [{"role": "user", "content": "no such template"}]},
                model="a model that nobody serves",
                reply=ReplyAddress(topic, "refused"),
            )
        replies = await asyncio.to_thread(_read, bootstrap, topic, COUNT + 1)

        assert {name: event["job"] for name, event in replies.items()} == {
            **jobs,
            "refused": refused,
        }
        assert {replies[name]["type"] for name in jobs} == {"completed"}
        assert replies["refused"]["type"] == "failed"
        async with AsyncClient(stack.dev.gateway, stack.dev.api_key) as client:
            statuses = [(await client.get(job)).status for job in jobs.values()]
        assert statuses == ["completed"] * COUNT


def _create(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(30)


def _read(bootstrap: str, topic: str, count: int) -> dict[str, dict[str, str]]:
    """The first `count` replies by correlation id."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "tests", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found: dict[str, dict[str, str]] = {}
    try:
        while len(found) < count:
            message = consumer.poll(60)
            assert message is not None, f"only {sorted(found)} were replied to"
            headers = cast("list[tuple[str, bytes]]", message.headers() or [])
            envelope, data = decode_event(headers, cast("bytes", message.value()))
            event: dict[str, str] = orjson.loads(data)
            assert envelope.subject == event["job"]
            found[dict(headers)["correlation-id"].decode()] = event
    finally:
        consumer.close()
    return found
