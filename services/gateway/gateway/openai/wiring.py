"""What all areas of the OpenAI API share, made once; each area has a builder of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from penstock_kit.auth.principal import Authenticator
from penstock_kit.clock import Clock
from penstock_kit.jobs.view import JobTable
from penstock_kit.kafka.ports import Producer
from penstock_kit.tasks import TaskCatalog

from gateway.admission.bodies import BodyBudget
from gateway.cancel import Canceller
from gateway.model_names import model_owners
from gateway.openai.ending import Endings
from gateway.openai.feed import FeedLimits
from gateway.openai.known_models import KnownModels
from gateway.openai.running import Runner
from gateway.openai.streaming import ChunkStreams
from gateway.openai.under_way import RunningLimits
from gateway.ports import Blobs, Streams
from gateway.settings import GatewaySettings
from gateway.status import JobReader
from gateway.submit import Submitter

__all__ = ["FrontDoor", "NativeParts", "build_front_door"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeParts:
    """The parts of the native API that the OpenAI API stands on."""

    authenticator: Authenticator
    submitter: Submitter
    reader: JobReader
    canceller: Canceller
    streams: Streams
    table: JobTable
    blobs: Blobs
    producer: Producer
    bodies: BodyBudget
    tasks: TaskCatalog
    clock: Clock
    randomness: Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontDoor:
    """What builders of areas take from."""

    settings: GatewaySettings
    native: NativeParts
    runner: Runner
    models: KnownModels
    chunk_streams: ChunkStreams


def build_front_door(settings: GatewaySettings, native: NativeParts) -> FrontDoor:
    """Everything that the areas share."""
    group = settings.gateway
    runner = Runner(
        authenticator=native.authenticator,
        submitter=native.submitter,
        streams=native.streams,
        reader=native.reader,
        canceller=native.canceller,
        endings=Endings(native.blobs),
        tasks=native.tasks,
        bodies=native.bodies,
        max_body_bytes=group.max_body_bytes,
        feed_limits=FeedLimits(max_events=group.stream_frames, max_bytes=group.stream_bytes),
        limits=RunningLimits(
            heartbeat=group.heartbeat,
            answer_within=group.answer_within,
            cancels_left_jobs=group.on_disconnect == "cancel",
        ),
        randomness=native.randomness,
    )
    owners = model_owners(group.models, providers_file=settings.providers_file, tasks=native.tasks)
    models = KnownModels(
        chat=owners,
        embedding=dict.fromkeys(group.embedding_models, "penstock"),
        created=int(native.clock.now().timestamp()),
    )
    streams = ChunkStreams(stall_s=group.stream_stall.total_seconds())
    return FrontDoor(
        settings=settings, native=native, runner=runner, models=models, chunk_streams=streams
    )
