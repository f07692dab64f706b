"""Recreates the job table in Redis from the log, while the system serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from penstock_contracts.ids import JobIds
from penstock_kit.auth.api_keys import ApiKeys
from penstock_kit.auth.producers import ProducerKeys
from penstock_kit.auth.table import CredentialTable
from penstock_kit.batches.fold import BatchFold
from penstock_kit.clock import Clock
from penstock_kit.errors import Rejected
from penstock_kit.intake import Intake
from penstock_kit.jobs.coverage import FoldMarks
from penstock_kit.jobs.epoch import TableEpoch
from penstock_kit.jobs.fold import FoldPolicy, JobFold
from penstock_kit.jobs.publishing import StatePublisher
from penstock_kit.jobs.reading import JobRecords
from penstock_kit.jobs.rebuild import Progress, Rebuild, RebuildReport
from penstock_kit.kafka.ports import Record
from penstock_kit.kafka.producer import KafkaProducer
from penstock_kit.kafka.scan import KafkaScan
from penstock_kit.redis_client import connect_redis
from penstock_kit.settings import KafkaSettings, RedisSettings
from penstock_kit.tasks import TaskCatalog

__all__ = ["RebuildTarget", "rebuild_table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildTarget:
    """The deployment whose table is rebuilt."""

    kafka: KafkaSettings
    redis: RedisSettings
    tasks: TaskCatalog
    id_secret: bytes
    verify_producers: bool


async def rebuild_table(
    target: RebuildTarget, *, clock: Clock, progress: Callable[[Progress], None]
) -> RebuildReport:
    """Fold states, requests and events again; what is there already stays as it is.

    Raises:
        RebuildRunning: another process is at it.
        TableAway: Redis does not answer.
        Retryable: the broker does not answer, or Redis was emptied meanwhile.
    """
    redis = connect_redis(target.redis, name="penstock-rebuild")
    producer = KafkaProducer(target.kafka, client_id="penstock-rebuild")
    producers = ProducerKeys(target.id_secret)
    credentials = CredentialTable(target.kafka, keys=ApiKeys(clock), producers=producers)
    policy = FoldPolicy()
    ids = JobIds(target.id_secret)
    intake = Intake(
        tasks=target.tasks, ids=ids, secrets=producers if target.verify_producers else None
    )
    fold = JobFold(redis, policy)
    rebuild = Rebuild(
        scan=KafkaScan(target.kafka),
        records=JobRecords(intake=intake, ids=ids, policy=policy, clock=clock),
        fold=fold,
        publisher=StatePublisher(producer, fold, clock),
        epoch=TableEpoch(redis),
        marks=FoldMarks(redis),
        clock=clock,
        request_topics=target.tasks.request_topics(),
        batches=BatchFold(redis, on_skip=_pass_over),
    )
    try:
        await producer.start()
        await credentials.start()
        return await rebuild.run(uuid4().hex, progress)
    finally:
        await credentials.stop()
        await producer.stop()
        await redis.aclose()


def _pass_over(_record: Record, _error: Rejected) -> None:
    """A record that tells nothing; the recorder has logged it."""
