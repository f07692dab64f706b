"""Runs the three parts one after another."""

from __future__ import annotations

from collections.abc import Callable

from penstock_contracts.credentials import Producer
from penstock_kit.auth.producers import producer_secret
from penstock_kit.clock import SystemClock
from penstock_kit.settings import KafkaSettings

from penstock.client import AsyncClient
from penstock.demo.chat import show_chat
from penstock.demo.direct import show_direct
from penstock.demo.report import Report
from penstock.demo.search import find_docs, show_search
from penstock.dev.endpoints import DevJson
from penstock.operating.credentials import CredentialLog

__all__ = ["run_demo"]

_PRODUCER = "demo"


async def run_demo(dev: DevJson, *, say: Callable[[str], None]) -> Report:
    """Show the three parts on a running stack; failures are in the report."""
    report = Report(clock=SystemClock(), say=say)
    async with AsyncClient(dev.gateway, dev.api_key, notifier=dev.notifier) as client:
        with report.part("A chat job by REST, its tokens on a WebSocket that is cut and resumed"):
            await show_chat(client, report)
        with report.part("The documentation of this repository, ingested and searched"):
            await show_search(client, report, docs=find_docs())
    with report.part("A job produced straight to Kafka, its result read from the log"):
        settings = KafkaSettings(bootstrap=dev.kafka)
        secret = await _register(settings, dev) if dev.options.verify_producers else ""
        producer = _PRODUCER if secret else ""
        await show_direct(settings, report, tenant=dev.tenant, producer=producer, secret=secret)
    return report


async def _register(settings: KafkaSettings, dev: DevJson) -> str:
    """Register the producer of part 3; its signing secret."""
    clock = SystemClock()
    producer = Producer(id=_PRODUCER, tenants=[dev.tenant], created_at=clock.now())
    await CredentialLog(settings, clock=clock).write(producer)
    return producer_secret(dev.id_secret.encode(), _PRODUCER).hex()
