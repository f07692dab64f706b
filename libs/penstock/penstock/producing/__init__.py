"""Jobs straight into the log, for services that are producers of Kafka themselves."""

from penstock.producing.asynchronous import EventProducer
from penstock.producing.events import ProducerIdentity, RequestEvent, request_event
from penstock.producing.synchronous import SyncEventProducer

__all__ = [
    "EventProducer",
    "ProducerIdentity",
    "RequestEvent",
    "SyncEventProducer",
    "request_event",
]
