"""The embedder as a process: real Kafka, Redis, model and local Qdrant."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen
from uuid import uuid4

import orjson
import pytest
import pytest_asyncio
from penstock.dev.ports import PortPicker
from penstock_contracts.catalog import CE_REQUEST
from penstock_contracts.codec import dumps
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.events import TERMINAL
from penstock_contracts.ids import derived_job_id
from penstock_contracts.topics import EVENTS
from penstock_kit.kafka.admin import ensure_topics
from penstock_kit.kafka.consumer import GroupConsumer
from penstock_kit.kafka.ports import OutRecord
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.redis_client import connect_redis
from penstock_kit.settings import KafkaSettings, RedisSettings
from penstock_kit.tasks import TaskCatalog
from pydantic import SecretStr

from tests.support.whole_table import declare_whole

pytestmark = pytest.mark.timeout(300)  # a loaded machine needs a minute to load the model

SOURCE = "/tests/embedder"


class Embedder:
    """A process, and a client of its topics."""

    def __init__(self, kafka: str, redis: str, folder: Path) -> None:
        self.settings = KafkaSettings(bootstrap=kafka)
        self.port = PortPicker().pick()
        self.env = {
            **{name: value for name, value in os.environ.items() if "PENSTOCK" not in name},
            "PENSTOCK_KAFKA__BOOTSTRAP": kafka,
            "PENSTOCK_REDIS__URL": redis,
            "PENSTOCK_BLOBS__URL": (folder / "blobs").as_uri(),
            "PENSTOCK_AUTH__ID_SECRET": "x" * 32,
            "PENSTOCK_AUTH__VERIFY_PRODUCERS": "false",
            "PENSTOCK_ADMIN__PORT": str(self.port),
            "PENSTOCK_EMBEDDER__QDRANT_PATH": str(folder / "qdrant"),
            "PENSTOCK_EMBEDDER__GROUP": "embedder",
        }
        self.producer = KafkaProducer(self.settings, client_id="test", on_fatal=print)
        self.consumer = GroupConsumer(self.settings, f"test-{uuid4().hex}")
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "embedder", env=self.env
        )
        await asyncio.to_thread(self._wait_ready)

    def _wait_ready(self) -> None:
        end = time.monotonic() + 100
        while time.monotonic() < end:
            try:
                with urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (URLError, OSError):
                time.sleep(0.05)
        pytest.fail("the embedder did not become ready")

    async def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return await self.process.wait()

    async def run(
        self, task: str, given: dict[str, Any], *, tenant: str = "acme", **members: Any
    ) -> list[dict[str, Any]]:
        """Send a job and wait for its end: all its events."""
        event_id = uuid4().hex
        job = derived_job_id(tenant=tenant, source=SOURCE, event_id=event_id)
        envelope = Envelope(
            id=event_id,
            source=SOURCE,
            type=CE_REQUEST,
            time=datetime.now(timezone.utc),
            tenant=tenant,
        )
        body = dumps({"task": task, "input": given, **members})
        await self.producer.send(
            OutRecord(f"ai.{task}.requests.v1", job.encode(), body, encode_headers(envelope))
        )
        await asyncio.to_thread(self._read_to_end, job)
        return self.events[job]

    def _read_to_end(self, job: str) -> None:
        end = time.monotonic() + 100
        while time.monotonic() < end:
            for record in self.consumer.poll(0.2, 500):
                event = orjson.loads(record.value or b"{}")
                self.events.setdefault(event["job"], []).append(event)
            if any(event["type"] in TERMINAL for event in self.events.get(job, [])):
                return
        pytest.fail(f"job {job} did not end: {self.events.get(job)}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder(
    kafka_bootstrap: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Embedder]:
    made = Embedder(kafka_bootstrap, redis_url, tmp_path_factory.mktemp("embedder"))
    await ensure_topics(made.settings, TaskCatalog.builtin().topics(), partitions=2)
    await made.producer.start()
    made.consumer.subscribe([EVENTS.name], lambda _change: None)
    redis = connect_redis(RedisSettings(url=SecretStr(redis_url)), name="test")
    await declare_whole(redis)
    await redis.aclose()
    await made.start()
    yield made
    assert made.process is not None
    if made.process.returncode is None:
        assert await made.end(signal.SIGTERM) == 0
    made.consumer.close()
    await made.producer.stop()


DOCUMENTS = [
    {"id": "cats", "text": "Cats sleep most of the day and hunt mice at night."},
    {"id": "rivers", "text": "A penstock is a pipe that leads water to a turbine."},
    {"id": "bread", "text": "Bread dough rises because yeast makes gas.", "metadata": {"year": 3}},
]


@pytest.mark.asyncio(loop_scope="module")
async def test_ingest_and_search_when_run_find_the_passage_of_the_own_tenant_only(
    embedder: Embedder,
) -> None:
    events = await embedder.run("ingest", {"collection": "docs", "documents": DOCUMENTS})
    assert [event["type"] for event in events] == ["started", "completed"]
    assert events[-1]["output"] == {
        "kind": "ingest",
        "collection": "docs",
        "documents": 3,
        "chunks": 3,
    }

    asked = {"collection": "docs", "query": "How does water get to a turbine?"}
    [*_, own] = await embedder.run("search", asked)
    [*_, foreign] = await embedder.run("search", asked, tenant="other")

    assert own["output"]["hits"][0]["document"] == "rivers"
    assert own["usage"]["input_tokens"] > 0
    assert own["usage"]["cost_usd"] is None
    assert foreign["output"]["hits"] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_embed_when_output_is_large_travels_by_claim_check(embedder: Embedder) -> None:
    [*_, small] = await embedder.run("embed", {"texts": ["one", "two"]})
    [*_, large] = await embedder.run("embed", {"texts": [f"text {n}" for n in range(200)]})

    assert len(small["output"]["vectors"]) == 2
    assert small["output"]["dimensions"] == 384
    assert large["type"] == "completed"
    assert large["output_ref"]["size_bytes"] > 256 * 1024


@pytest.mark.asyncio(loop_scope="module")
async def test_embed_when_a_text_is_blank_fails_and_names_it(embedder: Embedder) -> None:
    [*_, end] = await embedder.run("embed", {"texts": ["fine", "  "]})

    assert end["type"] == "failed"
    assert end["error"]["code"] == "empty_text"
    assert end["error"]["param"] == "input.texts.1"


@pytest.mark.asyncio(loop_scope="module")
async def test_embed_when_the_request_has_unknown_fields_fails_and_names_one(
    embedder: Embedder,
) -> None:
    events = await embedder.run("embed", {"texts": ["fine"]}, colour="blue")

    assert [event["type"] for event in events] == ["failed"]
    assert events[0]["error"]["param"] == "colour"


@pytest.mark.parametrize("limit", ["deadline", "ends_by"])
@pytest.mark.asyncio(loop_scope="module")
async def test_embed_when_its_time_is_over_expires(embedder: Embedder, limit: str) -> None:
    past = {limit: "2020-01-01T00:00:00Z"}
    events = await embedder.run("embed", {"texts": ["late"]}, **past)

    assert [event["type"] for event in events] == ["expired"]


@pytest.mark.asyncio(loop_scope="module")
async def test_search_when_the_process_was_killed_finds_what_was_stored(
    embedder: Embedder,
) -> None:
    document = {"id": "moon", "text": "The moon pulls the tides of the sea."}
    await embedder.run("ingest", {"collection": "kept", "documents": [document]})

    await embedder.end(signal.SIGKILL)
    await embedder.start()

    [*_, end] = await embedder.run("search", {"collection": "kept", "query": "What moves tides?"})
    assert [hit["document"] for hit in end["output"]["hits"]] == ["moon"]
