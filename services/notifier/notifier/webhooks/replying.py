"""An end as a record of the topic that the job's producer has named."""

from __future__ import annotations

import structlog
from penstock_contracts.replies import REPLY_TO, ReplyAddress
from penstock_kit.kafka.ports import OutRecord, Producer, Record, RecordRefused
from penstock_kit.lanes.patience import send_patiently

from notifier.webhooks.metrics import WebhookMetrics

__all__ = ["Replier"]

log = structlog.get_logger(__name__)


class Replier:
    """Writes replies. What is written twice, after a crash, has the same `ce_id`."""

    def __init__(self, producer: Producer, metrics: WebhookMetrics) -> None:
        self._producer = producer
        self._metrics = metrics

    async def reply(self, end: Record, to: ReplyAddress) -> None:
        """Write the event as it is, beside the producer's correlation id.

        A topic that does not take it is its producer's business: the end is in the events topic and
        the job table all the same, and nobody else's end waits for it.
        """
        headers = [(name, value) for name, value in end.headers if name != REPLY_TO]
        try:
            await send_patiently(self._producer, OutRecord(to.topic, end.key, end.value, headers))
        except RecordRefused as refusal:
            log.warning("reply.refused", topic=to.topic, code=refusal.code, error=str(refusal))
            self._metrics.replies.labels("refused").inc()
        else:
            self._metrics.replies.labels("written").inc()
