"""Jobs straight into the log, for services that are producers of Kafka themselves."""

from penstock_contracts.replies import ReplyAddress, reply_topic

from penstock.producing.asynchronous import EventProducer
from penstock.producing.events import ProducerIdentity, RequestEvent, request_event
from penstock.producing.synchronous import SyncEventProducer

__all__ = [
    "EventProducer",
    "ProducerIdentity",
    "ReplyAddress",
    "RequestEvent",
    "SyncEventProducer",
    "reply_topic",
    "request_event",
]
