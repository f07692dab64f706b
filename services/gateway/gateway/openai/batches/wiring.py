"""Makes everything about `/v1/batches`: endpoints, and what runs batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from penstock_contracts.batches import BatchState
from penstock_contracts.ids import JobIds
from penstock_contracts.topics import BATCH_REQUESTS
from penstock_kit.auth.producers import GATEWAY_PRODUCER, producer_secret
from penstock_kit.batches.lease import Confirm, Leases
from penstock_kit.errors import Fatal
from penstock_kit.kafka.ports import Consumer, Producer, Record
from penstock_kit.lanes.engine import Lanes
from penstock_kit.lanes.policy import REVOKE_DEADLINE, LanePolicy
from penstock_kit.telemetry.metrics import Metrics

from gateway.openai.batches.desk import BatchDesk
from gateway.openai.batches.endpoints import BatchEndpoints
from gateway.openai.batches.files_out import FilesOut
from gateway.openai.batches.following import BatchFollower
from gateway.openai.batches.handler import BatchHandler, Cancels
from gateway.openai.batches.journal import Folded, Journal
from gateway.openai.batches.run_parts import RunLimits, RunParts
from gateway.openai.batches.slots import LineSlots
from gateway.openai.batches.submitting import LineSubmitter
from gateway.openai.batches.translating import (
    EndpointTranslators,
    retell_responses,
    understand_chat,
    understand_completions,
    understand_embeddings,
    understand_responses,
)
from gateway.openai.ending import Endings
from gateway.openai.files.desk import FileDesk
from gateway.openai.files.stores import BatchStores
from gateway.openai.responses.asked import ResponseAsks
from gateway.openai.wiring import FrontDoor
from gateway.records import Speaker
from gateway.settings import GatewayGroup
from gateway.standing import LapseOf

__all__ = [
    "BATCHES_GROUP",
    "BatchArea",
    "BatchRunning",
    "build_batches",
    "build_handler",
    "build_lanes",
]

_STALL_FATAL = timedelta(minutes=10)
"""Callers' streams outlive a broker that is away for a while; batches must not take them down."""

BATCHES_GROUP = "batches"
"""The consumer group of all gateways: each batch is run by one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchArea:
    """The endpoints, and what else a process needs of batches."""

    endpoints: BatchEndpoints
    follower: BatchFollower
    files: FileDesk
    translators: EndpointTranslators


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRunning:
    """What a process that runs batches brings along."""

    leases: Leases
    cancels: Cancels
    folded: Folded


def build_batches(
    door: FrontDoor,
    stores: BatchStores,
    files: FileDesk,
    *,
    lapse_of: LapseOf,
    asks: ResponseAsks,
) -> BatchArea:
    """The endpoints of one gateway."""
    native, group = door.native, door.settings.gateway
    desk = BatchDesk(
        files=files,
        shelf=stores.batches,
        recalls=stores.recalls,
        producer=native.producer,
        speaker=_speaker(door),
        ids=_ids(door),
        clock=native.clock,
        randomness=native.randomness,
    )
    translators = EndpointTranslators(
        {
            "/v1/chat/completions": understand_chat(door.models),
            "/v1/responses": understand_responses(asks),
            "/v1/completions": understand_completions(door.models),
            "/v1/embeddings": understand_embeddings(door.models),
        },
        retold={"/v1/responses": retell_responses(asks)},
    )
    follower = BatchFollower(
        stores.events,
        batches=stores.batches,
        clock=native.clock,
        lapse_of=lapse_of,
        heartbeat=group.heartbeat,
    )
    endpoints = BatchEndpoints(
        authenticator=native.authenticator,
        desk=desk,
        follower=follower,
        bodies=native.bodies,
        endpoints=translators.endpoints,
        stall=group.stream_stall,
    )
    return BatchArea(endpoints=endpoints, follower=follower, files=files, translators=translators)


def build_handler(
    door: FrontDoor, stores: BatchStores, area: BatchArea, running: BatchRunning
) -> BatchHandler:
    """What runs the batches of one gateway."""
    native, group = door.native, door.settings.gateway
    ids = _ids(door)

    def new_journal(state: BatchState, confirm: Confirm) -> Journal:
        return Journal(
            state,
            producer=native.producer,
            shelf=stores.batches,
            events=stores.events,
            clock=native.clock,
            folded=running.folded,
            confirm=confirm,
        )

    parts = RunParts(
        contents=stores.contents,
        files=stores.files,
        table=native.table,
        streams=native.streams,
        translator=area.translators,
        submitter=LineSubmitter(submitter=native.submitter, tasks=native.tasks, ids=ids),
        endings=Endings(native.blobs),
        canceller=native.canceller,
        files_out=FilesOut(desk=area.files, ids=ids, clock=native.clock, folder=group.spool_folder),
        clock=native.clock,
        limits=RunLimits(max_lines=group.batch_lines, max_line_bytes=group.max_body_bytes),
    )
    return BatchHandler(
        parts=parts,
        batches=stores.batches,
        new_journal=new_journal,
        leases=running.leases,
        cancels=running.cancels,
        slots=LineSlots(lines=group.batch_window, size_bytes=group.batch_window_bytes),
        speaker=_speaker(door),
    )


def build_lanes(
    group: GatewayGroup,
    handler: BatchHandler,
    *,
    consumer: Consumer,
    producer: Producer,
    metrics: Metrics,
    session: timedelta,
    on_fatal: Callable[[Fatal], None],
) -> Lanes:
    """The consumer of batch requests: a batch is one record that is handled for hours.

    `session` is that of the consumer.
    """
    return Lanes(
        consumer=consumer,
        producer=producer,
        handler=handler,
        topics=[BATCH_REQUESTS.name],
        policy=LanePolicy(
            max_in_flight=group.batches_at_once,
            tenant_in_flight=group.tenant_batches_at_once,
            session=session,
            revoke_deadline=min(REVOKE_DEADLINE, session / 2),
            drain_timeout=timedelta(seconds=10),
            stall_fatal=_STALL_FATAL,
        ),
        on_fatal=on_fatal,
        name="batches",
        metrics=metrics,
        tenant_of=_tenant_of,
    )


def _tenant_of(record: Record) -> str:
    return (dict(record.headers).get("ce_tenant") or b"").decode("ascii", "replace")


def _ids(door: FrontDoor) -> JobIds:
    return JobIds(door.settings.auth.id_secret.get_secret_value().encode())


def _speaker(door: FrontDoor) -> Speaker:
    secret = door.settings.auth.id_secret.get_secret_value().encode()
    return Speaker(GATEWAY_PRODUCER, producer_secret(secret, GATEWAY_PRODUCER))
