"""Makes the record that runs a dead letter again: a new job with a derived id."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from penstock_contracts.codec import dumps
from penstock_contracts.dead import DeadReason
from penstock_contracts.envelope import Envelope, Headers, encode_headers, sign
from penstock_contracts.ids import JobIds, derived_job_id
from penstock_contracts.requests import JobRequest
from penstock_contracts.topics import request_topic
from penstock_kit.clock import Clock
from penstock_kit.errors import PenstockError, Rejected
from penstock_kit.intake import Intake
from penstock_kit.kafka.ports import OutRecord, Record
from penstock_kit.tasks import TaskCatalog

from penstock.operating.dlq.editing import BadEdit, Edit
from penstock.operating.dlq.letters import Letter

__all__ = ["CannotRedrive", "Replacement", "Replacing", "Signer"]

REDRIVE_SOURCE: Final = "/penstock/dlq"
"""`ce_source` of redriven jobs, with the dead job's id as `ce_id`: so their id is always the same.

Not the letter's place: a worker that dies before its offset passes writes the same letter again.
"""

_UNPROVEN: Final = frozenset({"bad_tenant", "unsigned", "bad_signature", "foreign_job"})
"""Refused because nobody could tell who sent it."""
_MAX_METADATA: Final = 16
_OURS: Final = ("ce_", "penstock_")
_ENCODED: Final = frozenset({"content-type", "traceparent", "tracestate"})


class CannotRedrive(PenstockError):
    """This letter is left as it is; `code` sums such letters up, the message says what to do."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Signer:
    """The producer in whose name redriven jobs are signed."""

    producer: str
    secret: bytes

    def __repr__(self) -> str:
        # A dataclass would show the secret in every log and traceback.
        return f"Signer(producer={self.producer!r})"


@dataclass(frozen=True, slots=True)
class Replacement:
    """What is written for a letter; `remarks` say what is different from the original."""

    letter: Letter
    record: OutRecord
    job: str
    remarks: tuple[str, ...]


class Replacing:
    """The rules of one redrive.

    Args:
        tasks: of the deployment.
        clock: gives the new jobs their creation time.
        edit: what is different.
        to: another request topic than the letter's own.
        force: also letters that cannot be expected to do better.
        signer: None where the deployment takes unsigned events.
    """

    def __init__(
        self,
        *,
        tasks: TaskCatalog,
        clock: Clock,
        edit: Edit,
        to: str | None = None,
        force: bool = False,
        signer: Signer | None = None,
    ) -> None:
        self._tasks = tasks
        self._clock = clock
        self._edit = edit
        self._to = to
        self._force = force
        self._signer = signer
        # The id is derived, so that no id secret is needed to check the record.
        self._intake = Intake(tasks=tasks, ids=JobIds(b""), secrets=None)

    def replacement(self, letter: Letter) -> Replacement:
        """The record that a worker will accept, without writing it.

        Raises:
            CannotRedrive: it makes no sense for this letter.
        """
        envelope, tenant, old = self._sender(letter)
        self._refuse_hopeless(letter)
        envelope, edit = self._edited(letter, envelope)
        job = derived_job_id(tenant=tenant, source=REDRIVE_SOURCE, event_id=old)
        now = self._clock.now()
        remarks: list[str] = []
        body = self._body(letter, edit, old, now, remarks)
        new = _envelope(envelope, job=job, old=old, now=now)
        data = dumps(body)
        if self._signer is not None:
            new = replace(new, producer=self._signer.producer)
            new = replace(new, signature=sign(new, data, secret=self._signer.secret))
        record = OutRecord(
            topic=self._topic(letter, body, remarks),
            key=_key(body, job),
            value=data,
            headers=[*encode_headers(new), *_kept(letter.headers)],
        )
        self._check(record)
        return Replacement(letter, record, job, tuple(remarks))

    def _sender(self, letter: Letter) -> tuple[Envelope, str, str]:
        """Envelope, tenant and job of the dead record."""
        if letter.envelope is None or letter.envelope.tenant is None or letter.job is None:
            raise CannotRedrive(
                "its envelope cannot be read, so nobody knows whose job it is; submit the job anew",
                code="no_envelope",
            )
        if letter.dead.code in _UNPROVEN and not self._force:
            raise CannotRedrive(
                f"nobody has proved that it comes from tenant {letter.envelope.tenant!r}"
                f" ({letter.dead.code}); if you are sure of it, give --force",
                code="unproven_sender",
            )
        return letter.envelope, letter.envelope.tenant, letter.job

    def _refuse_hopeless(self, letter: Letter) -> None:
        if letter.dead.reason is DeadReason.POISON and not (self._edit or self._force):
            raise CannotRedrive(
                f"the record itself is wrong ({letter.dead.code}) and would die again; correct it"
                " with --set or --edit, or give --force if the deployment has changed",
                code="poison",
            )

    def _edited(self, letter: Letter, envelope: Envelope) -> tuple[Envelope, Edit]:
        """What is to be sent: of a letter in structured mode the file may be the whole event."""
        if self._edit.body is None or not letter.is_structured:
            return envelope, self._edit
        try:
            opened = self._edit.opened(letter.headers)
        except BadEdit as error:
            raise CannotRedrive(str(error), code="bad_edit") from error
        if opened is None:
            return envelope, self._edit
        if opened[0].tenant != envelope.tenant:
            raise CannotRedrive(
                f"the file names tenant {opened[0].tenant!r} instead of {envelope.tenant!r}; a"
                " redriven job stays its tenant's, leave that member as it was",
                code="bad_edit",
            )
        return opened

    def _body(
        self, letter: Letter, edit: Edit, old: str, now: datetime, remarks: list[str]
    ) -> dict[str, Any]:
        try:
            body = edit.apply(letter.data)
        except BadEdit as error:
            raise CannotRedrive(str(error), code="bad_edit") from error
        if self._edit.body is not None:
            remarks.append("body replaced")
        remarks.extend(f"{path} set" for path, _ in self._edit.assignments)
        passed = [name for name in ("deadline", "ends_by") if _has_passed(body.get(name), now)]
        remarks.extend(f"{name} {body.pop(name)} has passed and is taken out" for name in passed)
        metadata = body.get("metadata") or {}
        if isinstance(metadata, dict):
            if len(metadata) < _MAX_METADATA or "redriven_from" in metadata:
                body["metadata"] = {**metadata, "redriven_from": old}
            else:
                remarks.append("metadata is full: without redriven_from")
        return body

    def _topic(self, letter: Letter, body: dict[str, Any], remarks: list[str]) -> str:
        topic = self._to or letter.source
        if self._to is None and self._is_moved(body):
            topic = self._topic_of(body) or topic
        if topic != letter.source:
            remarks.append(f"to {topic} instead of {letter.source}")
        return topic

    def _is_moved(self, body: dict[str, Any]) -> bool:
        """Whether the edit may have changed the topic that the job belongs to."""
        names = {path for path, _ in self._edit.assignments}
        return self._edit.body is not None or bool(names & {"task", "priority"} & set(body))

    def _topic_of(self, body: dict[str, Any]) -> str | None:
        try:
            request = JobRequest.model_validate(body)
        except ValueError:
            return None  # the check says what is wrong
        if self._tasks.get(request.task) is None:
            return None
        return request_topic(self._tasks.base_topic(request.task), request.priority)

    def _check(self, record: OutRecord) -> None:
        """Refuse what every worker would refuse: a redrive makes no new poison."""
        try:
            self._intake.verify(
                Record(record.topic, 0, 0, record.key, record.value, headers=record.headers)
            )
        except Rejected as error:
            raise CannotRedrive(
                f"workers would refuse it again ({error.code}): {error}; correct it with --set,"
                " --edit or --to",
                code=f"still_{error.code}",
            ) from error


def _envelope(envelope: Envelope, *, job: str, old: str, now: datetime) -> Envelope:
    return replace(
        envelope,
        id=old,
        source=REDRIVE_SOURCE,
        time=now,
        subject=job,
        attempt=None,
        seq=None,
        deadline=None if _has_passed(envelope.deadline, now) else envelope.deadline,
        producer=None,
        signature=None,
    )


def _kept(headers: Headers) -> Headers:
    """Headers of the original that the envelope does not write."""
    return [
        (name, raw)
        for name, raw in headers
        if not name.lower().startswith(_OURS) and name.lower() not in _ENCODED
    ]


def _key(body: dict[str, Any], job: str) -> bytes:
    conversation = body.get("conversation")
    return (conversation if isinstance(conversation, str) else job).encode()


def _has_passed(text: Any, now: datetime) -> bool:
    try:
        return isinstance(text, str) and datetime.fromisoformat(text) <= now
    except (ValueError, TypeError):
        return False  # no instant, or none with a time zone: the check says so
