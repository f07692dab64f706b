"""Builds a request event: what docs/direct-producers.md tells in words, in code. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from penstock_contracts.catalog import CE_REQUEST
from penstock_contracts.codec import encode_model, first_problem
from penstock_contracts.envelope import Envelope, encode_headers, sign
from penstock_contracts.ids import derived_job_id
from penstock_contracts.replies import ReplyAddress
from penstock_contracts.requests import JobRequest, Priority
from penstock_contracts.topics import request_topic
from penstock_kit.kafka.ports import OutRecord
from pydantic import ValidationError

__all__ = ["ProducerIdentity", "RequestEvent", "request_event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerIdentity:
    """Who produces, and for whom.

    Attributes:
        tenant: whose jobs these are.
        source: CloudEvents source, constant per service, e.g. `billing/nightly`.
        producer: id of the registered producer; None: unsigned, which only loopback stacks accept.
        secret: its signing secret as `penstock token create --producer` showed it, 64 hex digits.
    """

    tenant: str
    source: str
    producer: str | None = None
    secret: str | None = None

    def __post_init__(self) -> None:
        if (self.producer is None) != (self.secret is None):
            raise ValueError("give both of producer and secret, or none of them")
        if self.secret is not None:
            bytes.fromhex(self.secret)

    def __repr__(self) -> str:
        # A dataclass would show the secret in every log and traceback.
        return f"ProducerIdentity(tenant={self.tenant!r}, source={self.source!r})"


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """A record to write, and the id of the job that it will be."""

    job: str
    record: OutRecord


def request_event(
    identity: ProducerIdentity,
    task: str,
    given: Mapping[str, Any],
    *,
    event_id: str,
    now: datetime,
    topic: str | None = None,
    reply: ReplyAddress | None = None,
    **members: Any,
) -> RequestEvent:
    """The event that asks for a job. The same source and `event_id` is the same job, however often.

    `members` are those of `JobRequest`: model, params, priority, conversation, deadline, ends_by,
    charge, metadata, user, streamed. `topic` is the task's base topic where tasks.yaml gives it
    another name. `reply` is where the job's end is told (`reply_topic(name, tenant)` names one).

    Raises:
        ContractError: a member is wrong; the sentence names it.
    """
    try:
        if reply is not None:
            reply.check(identity.tenant)
        request = JobRequest.model_validate({"task": task, "input": dict(given), **members})
    except ValidationError as error:
        raise first_problem(error) from None
    job = derived_job_id(tenant=identity.tenant, source=identity.source, event_id=event_id)
    body = encode_model(request)
    envelope = Envelope(
        id=event_id,
        source=identity.source,
        type=CE_REQUEST,
        time=now,
        subject=job,
        tenant=identity.tenant,
        user=request.user,
        priority=request.priority.value if request.priority is not Priority.DEFAULT else None,
        producer=identity.producer,
        reply=reply,
    )
    if identity.secret is not None:
        signature = sign(envelope, body, secret=bytes.fromhex(identity.secret))
        envelope = replace(envelope, signature=signature)
    record = OutRecord(
        topic=request_topic(topic or f"ai.{request.task}.requests.v1", request.priority),
        key=(request.conversation or job).encode(),
        value=body,
        headers=encode_headers(envelope),
    )
    return RequestEvent(job, record)
