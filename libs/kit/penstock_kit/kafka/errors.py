"""Translates librdkafka's errors into the port's classes, once."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

from penstock_kit.errors import PenstockError
from penstock_kit.kafka.ports import BrokerFault, DeliveryUnknown, RecordRefused

__all__ = ["consumer_fault", "delivery_error", "is_beyond_repair"]


class _Local:
    """Codes of the client itself; the leading underscore is librdkafka's, not a sign of privacy."""

    UNKNOWN_TOPIC: Final = KafkaError._UNKNOWN_TOPIC  # noqa: SLF001 - public by documentation
    UNKNOWN_PARTITION: Final = KafkaError._UNKNOWN_PARTITION  # noqa: SLF001 - the same
    FATAL: Final = KafkaError._FATAL  # noqa: SLF001 - the same
    MAX_POLL_EXCEEDED: Final = KafkaError._MAX_POLL_EXCEEDED  # noqa: SLF001 - the same
    AUTHENTICATION: Final = KafkaError._AUTHENTICATION  # noqa: SLF001 - the same


_REFUSED: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE: ("record_too_large", "send the body by claim check"),
    KafkaError.RECORD_LIST_TOO_LARGE: ("record_too_large", "send the body by claim check"),
    _Local.UNKNOWN_TOPIC: ("unknown_topic", "create it with `penstock topics`"),
    KafkaError.UNKNOWN_TOPIC_OR_PART: ("unknown_topic", "create it with `penstock topics`"),
    _Local.UNKNOWN_PARTITION: ("unknown_partition", "let the key choose the partition"),
    KafkaError.TOPIC_EXCEPTION: ("invalid_topic", "correct the name of the topic"),
    KafkaError.INVALID_MSG: ("invalid_record", "the broker calls it corrupt; see its log"),
    KafkaError.INVALID_RECORD: ("invalid_record", "a compacted topic needs a key"),
    KafkaError.TOPIC_AUTHORIZATION_FAILED: ("not_authorized", "grant WRITE on the topic"),
}
_BEYOND_REPAIR: Final = frozenset(
    {
        _Local.FATAL,
        _Local.MAX_POLL_EXCEEDED,
        _Local.AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.UNSUPPORTED_VERSION,
    }
)


def is_beyond_repair(error: KafkaError) -> bool:
    """Whether the client that reports this can never work again."""
    return bool(error.fatal()) or error.code() in _BEYOND_REPAIR


def delivery_error(error: KafkaError, topic: str) -> PenstockError:
    """What a failed write means for the one who wrote."""
    if error.code() in _REFUSED:
        code, remedy = _REFUSED[error.code()]
        return RecordRefused(
            f"topic {topic!r} refuses the record: {error.str()}; {remedy}", code=code
        )
    if is_beyond_repair(error):
        return consumer_fault(error)
    return DeliveryUnknown(
        f"no acknowledgement from topic {topic!r} in time: {error.str()}; "
        "the record may or may not be there, sending it again is safe for jobs"
    )


def consumer_fault(error: KafkaError) -> BrokerFault:
    """A client that cannot go on."""
    return BrokerFault(
        f"the Kafka client cannot go on ({error.name()}): {error.str()}; the process must restart, "
        "check credentials, ACLs and the broker's version if it happens again"
    )
