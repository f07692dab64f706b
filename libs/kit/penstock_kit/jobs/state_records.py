"""The record of `ai.jobs.state.v1`, and what it tells when it is read back.

The value is the `JobState` that everybody may read. The header `penstock_fold` holds the facets
behind it, so that a rebuild joins exactly what was known, in any order with the requests and events
that are still kept.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from penstock_contracts.catalog import CE_STATE
from penstock_contracts.codec import encode_model
from penstock_contracts.envelope import Envelope, encode_headers
from penstock_contracts.events import JobStatus, Position
from penstock_contracts.topics import STATE

from penstock_kit.errors import Rejected
from penstock_kit.jobs.facets import Ending, Facets, Meta, Progress, Start, state_of
from penstock_kit.jobs.fold import Changed
from penstock_kit.jobs.patches import JobPatch
from penstock_kit.kafka.ports import OutRecord, Record

__all__ = ["patch_of_state", "state_record"]

_HEADER = "penstock_fold"


def state_record(changed: Changed, *, now: datetime) -> OutRecord:
    """The state of a job as it goes into the log."""
    state = state_of(changed.tenant, changed.job, changed.facets, with_output=True)
    assert state is not None, "only jobs with a status are published"
    envelope = Envelope(
        id=f"{changed.job}/{changed.version}",
        source="/recorder",
        type=CE_STATE,
        time=now,
        subject=changed.job,
        tenant=changed.tenant,
        user=state.user,
    )
    headers = [*encode_headers(envelope), (_HEADER, _encode(changed.facets))]
    return OutRecord(STATE.name, changed.job.encode(), encode_model(state), headers)


def patch_of_state(record: Record) -> JobPatch:
    """What a record of the state topic tells.

    Raises:
        Rejected: it was not written by a recorder.
    """
    headers = dict(record.headers)
    try:
        state = orjson.loads(record.value or b"")
        facets = _decode(headers[_HEADER], state.get("output"))
        tenant, job = state["tenant"], state["job"]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Rejected(
            f"no state of a recorder's: {type(error).__name__}", code="schema_mismatch"
        ) from error
    return JobPatch(tenant, job, facets, state_offset=record.offset)


def _encode(facets: Facets) -> bytes:
    meta, progress, counts = facets.meta, facets.progress, facets.ending
    plain: dict[str, Any] = {
        "starts": [list(start) for start in facets.starts],
        "endings": [
            _plain_ending(ending, is_in_value=ending is counts) for ending in facets.endings
        ],
        "started_ms": facets.started_ms,
        "top": list(facets.top),
        "has_output": facets.has_output,
        "deleted_ms": facets.deleted_ms,
        "crashes": facets.crashes,
    }
    if meta is not None:
        plain["meta"] = [meta.rank, meta.created_ms, meta.user, meta.body.decode()]
    if progress is not None:
        body = progress.body.decode()
        plain["progress"] = [
            *progress.position,
            progress.status.value,
            body,
            progress.until_ms,
        ]
    return orjson.dumps(plain)


def _plain_ending(ending: Ending, *, is_in_value: bool) -> list[Any]:
    event = None
    if is_in_value and ending.event:
        event = orjson.loads(ending.event)
        event.pop("output", None)  # it is in the value
    return [
        ending.partition,
        ending.offset,
        *ending.position,
        ending.status.value,
        ending.body.decode(),
        event,
    ]


def _decode(raw: bytes, output: Any) -> Facets:
    plain = orjson.loads(raw)
    meta, progress = plain.get("meta"), plain.get("progress")
    return Facets(
        meta=None if meta is None else Meta(meta[0], meta[1], meta[2], meta[3].encode()),
        progress=None
        if progress is None
        else Progress(
            Position(progress[0], progress[1]),
            JobStatus(progress[2]),
            progress[3].encode(),
            progress[4],
        ),
        starts=tuple(Start(*start) for start in plain["starts"]),
        endings=tuple(_decode_ending(ending, output) for ending in plain["endings"]),
        started_ms=plain["started_ms"],
        top=Position(*plain["top"]),
        has_output=plain["has_output"],
        deleted_ms=plain.get("deleted_ms"),
        crashes=plain.get("crashes", 0),
    )


def _decode_ending(plain: list[Any], output: Any) -> Ending:
    partition, offset, attempt, seq, status, body, event = plain
    if event is not None and output is not None:
        event["output"] = output
    return Ending(
        partition,
        offset,
        Position(attempt, seq),
        JobStatus(status),
        body.encode(),
        b"" if event is None else orjson.dumps(event),
    )
