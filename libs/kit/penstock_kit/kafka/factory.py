"""The one place that turns `KafkaSettings` into clients.

A test bans their construction anywhere else.

Every value that differs from a client's default has its reason beside it. Both clients put a key
on the same partition (murmur2), never commit by themselves, and refuse to create topics by
accident.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka
import confluent_kafka.admin
from confluent_kafka import KafkaError, KafkaException
from penstock_contracts.topics import LARGEST_RECORD_BYTES

from penstock_kit.kafka.unreadable import read_past_unreadable
from penstock_kit.settings import BadSettings, KafkaSettings

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

__all__ = [
    "Pace",
    "admin_config",
    "consumer_config",
    "make_admin",
    "make_consumer",
    "make_producer",
    "make_tail_consumer",
    "producer_config",
    "tail_config",
]

_CLIENT_LOG: Final = "penstock_kit.kafka.client"
"""Where librdkafka's own lines go, instead of to stderr past our log format."""

_SECURITY_PREFIXES: Final = ("security.", "sasl.", "ssl.", "enable.ssl.", "https.")

_MAX_HEARTBEAT: Final = timedelta(seconds=1)
"""Members learn of a rebalance with a heartbeat.

One second keeps scale-out fast and costs one tiny request.
"""

_FETCH_WAIT_MS: Final = 100
"""Longest time the broker holds an empty fetch.

New records end the wait at once; a resumed partition joins the
next fetch, so this bounds its delay."""


class Pace(StrEnum):
    """What a client is for; it decides between latency and the number of requests."""

    PROMPT = "prompt"
    """Somebody waits for each record: nothing is held back."""
    BATCH = "batch"
    """Views and statistics: some milliseconds of delay save most of the requests."""


_LINGER_MS: Final = {Pace.PROMPT: 0, Pace.BATCH: 50}
"""Prompt batches form by themselves while five requests are in flight."""
_FETCH_MIN_BYTES: Final = {Pace.PROMPT: 1, Pace.BATCH: 64 * 1024}
_FETCH_WAIT_OF: Final = {Pace.PROMPT: _FETCH_WAIT_MS, Pace.BATCH: 60}
"""Batches wait this long for more, also when there is nothing: so the two or three events that a
stream has in that time cost one write to the table, and the table is hardly later."""

_PRODUCER_QUEUE_RECORDS: Final = 100_000
_PRODUCER_QUEUE_KBYTES: Final = 64 * 1024
_CONSUMER_QUEUE_RECORDS: Final = 10_000
_CONSUMER_QUEUE_KBYTES: Final = 8 * 1024
"""The default of 64 MiB alone would be half of a worker's memory."""

_AIOKAFKA_NAMES: Final = {
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.mechanisms": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
}
_SSL_CONTEXT_NAMES: Final = {
    "ssl.ca.location": "cafile",
    "ssl.certificate.location": "certfile",
    "ssl.key.location": "keyfile",
    "ssl.key.password": "password",
}


def producer_config(
    settings: KafkaSettings, *, client_id: str, pace: Pace = Pace.PROMPT
) -> dict[str, Any]:
    """Properties of librdkafka for a durable, ordered producer."""
    return {
        **_shared(settings, client_id),
        "acks": "all",
        "enable.idempotence": True,  # retries neither duplicate nor reorder
        "partitioner": "murmur2_random",  # as Java and aiokafka do; the default is CRC32
        "linger.ms": _LINGER_MS[pace],
        "delivery.timeout.ms": _ms(settings.delivery_timeout),
        "queue.buffering.max.messages": _PRODUCER_QUEUE_RECORDS,
        "queue.buffering.max.kbytes": _PRODUCER_QUEUE_KBYTES,
        "message.max.bytes": LARGEST_RECORD_BYTES,  # each topic's limit is the broker's to enforce
        "topic.metadata.propagation.max.ms": 3000,  # an unknown topic is refused, not timed out
        "allow.auto.create.topics": False,
    }


def consumer_config(
    settings: KafkaSettings, group: str, *, client_id: str, pace: Pace = Pace.PROMPT
) -> dict[str, Any]:
    """Properties of librdkafka for a group member that commits only what it is told to."""
    config = {
        **_shared(settings, client_id),
        "group.id": group,
        "group.protocol": settings.group_protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",  # `latest` skips records that came before the first commit
        "max.poll.interval.ms": _ms(settings.max_poll_interval),
        "isolation.level": "read_committed",
        "enable.partition.eof": False,
        "check.crcs": True,
        "fetch.min.bytes": _FETCH_MIN_BYTES[pace],
        "fetch.wait.max.ms": _FETCH_WAIT_OF[pace],
        "fetch.queue.backoff.ms": 10,  # the default, a second, starves workers
        "fetch.error.backoff.ms": 100,
        "queued.min.messages": _CONSUMER_QUEUE_RECORDS,
        "queued.max.messages.kbytes": _CONSUMER_QUEUE_KBYTES,
        "fetch.message.max.bytes": LARGEST_RECORD_BYTES,
        "allow.auto.create.topics": False,
        "topic.metadata.refresh.interval.ms": 60_000,  # new partitions are found within a minute
    }
    if settings.group_protocol == "classic":
        heartbeat = min(_MAX_HEARTBEAT, settings.session_timeout / 3)
        config |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": _ms(settings.session_timeout),
            "heartbeat.interval.ms": _ms(heartbeat),
        }
    return config


def admin_config(settings: KafkaSettings, *, client_id: str) -> dict[str, Any]:
    """Properties of librdkafka for an admin client."""
    return _shared(settings, client_id)


def tail_config(settings: KafkaSettings, *, client_id: str) -> dict[str, Any]:
    """Arguments of an aiokafka consumer without a group.

    It never commits and never skips silently.
    """
    return {
        "bootstrap_servers": [part.strip() for part in settings.bootstrap.split(",")],
        "client_id": client_id,
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "isolation_level": "read_committed",
        "check_crcs": True,
        "fetch_min_bytes": 1,
        "fetch_max_wait_ms": _FETCH_WAIT_MS,
        "max_partition_fetch_bytes": LARGEST_RECORD_BYTES,
        "request_timeout_ms": 10_000,
        "retry_backoff_ms": 100,
        "metadata_max_age_ms": 60_000,
        **_aiokafka_security(settings),
    }


def make_producer(
    settings: KafkaSettings,
    *,
    client_id: str,
    overrides: Mapping[str, Any],
    pace: Pace = Pace.PROMPT,
) -> confluent_kafka.Producer:
    """A librdkafka producer; `overrides` are callbacks."""
    config = producer_config(settings, client_id=client_id, pace=pace)
    with _refusals():
        return confluent_kafka.Producer({**config, **_log_config(), **overrides})


def make_consumer(
    settings: KafkaSettings,
    group: str,
    *,
    client_id: str,
    overrides: Mapping[str, Any],
    pace: Pace = Pace.PROMPT,
) -> confluent_kafka.Consumer:
    """A librdkafka consumer; `overrides` are callbacks."""
    config = consumer_config(settings, group, client_id=client_id, pace=pace)
    with _refusals():
        return confluent_kafka.Consumer({**config, **_log_config(), **overrides})


def make_admin(
    settings: KafkaSettings, *, client_id: str, overrides: Mapping[str, Any] | None = None
) -> confluent_kafka.admin.AdminClient:
    """An admin client; `overrides` change what it logs."""
    config = admin_config(settings, client_id=client_id)
    with _refusals():
        return confluent_kafka.admin.AdminClient({**config, **(overrides or {})})


def make_tail_consumer(
    settings: KafkaSettings, *topics: str, client_id: str = "penstock-tail"
) -> AIOKafkaConsumer:
    """An aiokafka consumer without a group.

    Call it on a running loop. Never cancel its `getone` or `getmany`.
    """
    read_past_unreadable()
    from aiokafka import (  # noqa: PLC0415 - workers need no second client in memory
        AIOKafkaConsumer,
    )

    with _refusals():
        return AIOKafkaConsumer(*topics, **tail_config(settings, client_id=client_id))


@contextmanager
def _refusals() -> Iterator[None]:
    """Whatever a client refuses at once is a security property: all others are ours or checked."""
    try:
        yield
    except KafkaException as error:
        if error.args[0].code() != KafkaError._INVALID_ARG:  # noqa: SLF001 - librdkafka's name of it
            raise
        raise _unusable(error.args[0].str()) from error
    except (ValueError, OSError) as error:  # aiokafka's, and of files that are missing or no PEM
        raise _unusable(str(error)) from error


def _unusable(why: str) -> BadSettings:
    return BadSettings(f"PENSTOCK_KAFKA__SECURITY cannot be used: {why.strip()}; correct it")


def _shared(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.bootstrap,
        "client.id": client_id,
        "socket.keepalive.enable": True,  # firewalls drop idle connections silently
        "socket.nagle.disable": True,
        # While no broker answers, `metadata.recovery.strategy=rebootstrap` (default) begins anew
        # with fresh threads, to which the longest back-off does not apply: the first is all that
        # bounds them (50 ms: thirty threads a second and client, librdkafka 2.16). Without that
        # strategy a client was once silent for 13 s after its broker had come back.
        "reconnect.backoff.ms": 500,
        "reconnect.backoff.max.ms": 1000,  # ten seconds (default) are too long after a restart
        "log_level": 4,
        "log.connection.close": False,  # brokers close idle connections; that is no news
        **_security(settings),
    }


def _log_config() -> dict[str, Any]:
    return {"logger": logging.getLogger(_CLIENT_LOG)}


def _security(settings: KafkaSettings) -> dict[str, str]:
    for name in settings.security:
        if not name.startswith(_SECURITY_PREFIXES):
            raise BadSettings(
                "PENSTOCK_KAFKA__SECURITY takes security.*, sasl.* and ssl.* properties only; "
                f"remove {name!r}"
            )
    return {name: secret.get_secret_value() for name, secret in settings.security.items()}


def _aiokafka_security(settings: KafkaSettings) -> dict[str, Any]:
    given = _security(settings)
    arguments: dict[str, Any] = {}
    ssl_arguments: dict[str, str] = {}
    for name, value in given.items():
        if name in _AIOKAFKA_NAMES:
            arguments[_AIOKAFKA_NAMES[name]] = value
        elif name in _SSL_CONTEXT_NAMES:
            ssl_arguments[_SSL_CONTEXT_NAMES[name]] = value
        else:
            raise BadSettings(
                f"PENSTOCK_KAFKA__SECURITY: {name!r} is not supported by the live reader; "
                f"use one of {', '.join(sorted({*_AIOKAFKA_NAMES, *_SSL_CONTEXT_NAMES}))}"
            )
    if "SSL" in arguments.get("security_protocol", ""):
        from aiokafka.helpers import (  # noqa: PLC0415 - the same
            create_ssl_context,
        )

        arguments["ssl_context"] = create_ssl_context(**ssl_arguments)
    return arguments


def _ms(duration: timedelta) -> int:
    return int(duration / timedelta(milliseconds=1))
