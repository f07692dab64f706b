"""The composition root's second half: the ASGI application with the endpoints of every area."""

from __future__ import annotations

from datetime import timedelta
from random import SystemRandom

from penstock_contracts.ids import JobIds
from penstock_kit.auth.producers import GATEWAY_PRODUCER, producer_secret
from penstock_kit.auth.tickets import TICKET_LIFETIME
from penstock_kit.kafka.bursts import Bursts
from penstock_kit.kafka.ports import Ack
from penstock_kit.tasks import TaskCatalog

from gateway.admission.bodies import BodyBudget
from gateway.admission.rules import LimitBook
from gateway.app import create_app
from gateway.cancel import Canceller
from gateway.checking import JobChecker
from gateway.cross_origin import open_to
from gateway.frame import App
from gateway.metrics import GatewayMetrics
from gateway.model_names import known_models
from gateway.openai.batches.wiring import (
    build_batches,
    build_handler,
)
from gateway.openai.chat.endpoints import build_chat
from gateway.openai.completions.endpoints import build_completions
from gateway.openai.conversations.wiring import build_conversation_desk, build_conversations
from gateway.openai.embeddings.endpoints import build_embeddings
from gateway.openai.files.wiring import build_file_desk, build_files, build_sweeper
from gateway.openai.models.endpoints import build_models
from gateway.openai.moderations.wiring import build_moderations, build_moderator
from gateway.openai.responses.wiring import build_responses
from gateway.openai.socket.wiring import build_roster, build_socket
from gateway.openai.wiring import NativeParts, build_front_door
from gateway.records import RecordWriter, Speaker
from gateway.routes import Endpoints, RouteLimits
from gateway.settings import GatewaySettings
from gateway.status import JobReader
from gateway.stream import EventFollower
from gateway.submit import Submitter
from gateway.surroundings import Inside, Outside
from gateway.views import JobViews
from gateway.waiting import EndWaiters
from gateway.webhook_endpoints.building import build_webhook_endpoints
from gateway.writing import JobWriter

__all__ = ["build_frame"]

_HINTS_PAUSE = timedelta(milliseconds=10)
"""Between two bursts. A reader that has seen the job start meanwhile drops the hint."""
_SLOW_HINTS_PAUSE = timedelta(milliseconds=250)
"""The same of jobs that nobody watches, thousands at once: only what they add to lines counts."""


def build_frame(
    settings: GatewaySettings,
    outside: Outside,
    inside: Inside,
    *,
    follower: EventFollower,
    waiters: EndWaiters,
    metrics: GatewayMetrics,
    tasks: TaskCatalog,
    book: LimitBook,
) -> App:
    """The ASGI application on top of what the outside gives."""
    native = _native(settings, outside, inside, metrics, tasks=tasks, book=book)
    jobs = _jobs(settings, outside, inside, native, follower=follower, waiters=waiters)
    door = build_front_door(settings, native)
    inside.drains.append(lambda: door.runner.drain(settings.gateway.drain_patience))
    moderator = build_moderator(settings.gateway)
    inside.closings.append(moderator.close)
    desk = build_conversation_desk(door, outside.conversations)
    responses = build_responses(door, conversations=desk)
    roster = build_roster(door, metrics)
    inside.drains += [responses.readers.drain, roster.drain]
    files = build_file_desk(door, outside.stores)
    batches = build_batches(
        door, outside.stores, files, lapse_of=outside.authenticator.lapse_of, asks=responses.asks
    )
    inside.drains.append(batches.follower.drain)
    inside.sweepers.append(build_sweeper(door, files, outside.stores))
    inside.batch_handlers.append(
        lambda running: build_handler(door, outside.stores, batches, running)
    )
    endpoints = {
        "jobs": jobs,
        "openai.chat": build_chat(door),
        "openai.responses": responses.endpoints,
        "openai.moderations": build_moderations(door, moderator),
        "openai.completions": build_completions(door),
        "openai.embeddings": build_embeddings(door),
        "openai.models": build_models(door),
        "webhooks": build_webhook_endpoints(door, inside.webhooks, outside.webhook_log),
        "openai.files": build_files(door, files),
        "openai.batches": batches.endpoints,
        "openai.conversations": build_conversations(door, desk),
    }
    sockets = build_socket(door, responses, roster, metrics=metrics)
    frame = create_app(endpoints, metrics=metrics, randomness=inside.randomness, sockets=sockets)
    return open_to(settings.gateway.origins, frame)


def _native(
    settings: GatewaySettings,
    outside: Outside,
    inside: Inside,
    metrics: GatewayMetrics,
    *,
    tasks: TaskCatalog,
    book: LimitBook,
) -> NativeParts:
    group = settings.gateway
    ids = JobIds(settings.auth.id_secret.get_secret_value().encode())
    return NativeParts(
        authenticator=outside.authenticator,
        submitter=_submitter(settings, outside, inside, metrics, tasks=tasks, book=book, ids=ids),
        reader=JobReader(
            table=outside.table,
            ids=ids,
            recent=inside.recent,
            blobs=outside.blobs,
            clock=outside.clock,
            fresh_for=group.fresh_for,
            job_ttl=group.job_ttl,
        ),
        canceller=Canceller(producer=outside.producer, clock=outside.clock),
        streams=outside.streams,
        table=outside.table,
        blobs=outside.blobs,
        producer=outside.producer,
        bodies=BodyBudget(
            group.max_body_bytes_total,
            inside.desk.metrics.bodies,
            stall_s=group.stream_stall.total_seconds(),
        ),
        tasks=tasks,
        clock=outside.clock,
        randomness=inside.randomness,
    )


def _jobs(
    settings: GatewaySettings,
    outside: Outside,
    inside: Inside,
    native: NativeParts,
    *,
    follower: EventFollower,
    waiters: EndWaiters,
) -> Endpoints:
    group = settings.gateway
    return Endpoints(
        authenticator=native.authenticator,
        submitter=native.submitter,
        reader=native.reader,
        canceller=native.canceller,
        follower=follower,
        waiters=waiters,
        tickets=outside.tickets,
        lines=inside.lines,
        views=JobViews(socket_url=group.socket_url),
        bodies=native.bodies,
        limits=RouteLimits(
            max_body_bytes=group.max_body_bytes,
            max_wait=group.max_wait,
            stream_stall=group.stream_stall,
            ticket_lifetime=TICKET_LIFETIME,
        ),
        socket_url=group.socket_url,
        randomness=inside.randomness,
    )


def _submitter(
    settings: GatewaySettings,
    outside: Outside,
    inside: Inside,
    metrics: GatewayMetrics,
    *,
    tasks: TaskCatalog,
    book: LimitBook,
    ids: JobIds,
) -> Submitter:
    models = known_models(settings.gateway.models, providers_file=settings.providers_file)
    dropped = metrics.degraded.labels("queued_hint").inc
    hints, slow_hints = (
        Bursts(outside.producer, pause=pause, on_ack=_unheeded, on_full=dropped)
        for pause in (_HINTS_PAUSE, _SLOW_HINTS_PAUSE)
    )
    inside.closings += [hints.stop, slow_hints.stop]
    secret = producer_secret(settings.auth.id_secret.get_secret_value().encode(), GATEWAY_PRODUCER)
    return Submitter(
        checker=JobChecker(tasks=tasks, models=models),
        ids=ids,
        admission=inside.desk.admission(
            outside.admissions, book=book, chance=SystemRandom().random
        ),
        writer=JobWriter(
            tasks=tasks,
            records=RecordWriter(speaker=Speaker(GATEWAY_PRODUCER, secret)),
            producer=outside.producer,
            hints=hints,
            slow_hints=slow_hints,
            blobs=outside.blobs,
            inline_limit_bytes=settings.blobs.inline_limit_bytes,
        ),
        lines=inside.lines,
        crowd=inside.desk.crowd,
        recent=inside.recent,
        metrics=metrics,
        clock=outside.clock,
        randomness=inside.randomness,
    )


def _unheeded(_ack: Ack | None, _error: Exception | None) -> None:
    """A lost hint is no loss."""
