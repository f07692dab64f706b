"""P11: poison ends in the dead letters, as it came, after few crashes."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator

from tests.promises.checker.evidence import Evidence, LogRecord
from tests.promises.checker.fold import fold
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_poison"]

_MOST_CRASHES = 3
_OURS = "penstock_"


def check_poison(evidence: Evidence) -> Verdict:
    """Jobs that kill their worker, records that are none, and the bytes of every dead letter."""
    crashes = Counter(line["job"] for line in evidence.journal("crashes"))
    poison = evidence.accepted_of("poison")
    malformed = [line for line in evidence.journal("malformed") if line["place"] is not None]
    offenders = [
        f"{job}: has crashed {count} workers"
        for job, count in crashes.items()
        if count > _MOST_CRASHES
    ]
    offenders += [
        f"{job}: ended as {status}, not failed"
        for job in poison
        if (status := fold(evidence.events.get(job, [])).status) != "failed"
    ]
    letters = {
        tuple(letter.header(f"penstock_dead_{name}") for name in ("topic", "partition", "offset"))
        for letter in evidence.dead
    }
    offenders += [
        f"{job}: no dead letter"
        for job in poison
        if not any(
            (r.topic, str(r.partition), str(r.offset)) in letters
            for r in evidence.requests.get(job, [])
        )
        and not any(letter.header("ce_subject") == job for letter in evidence.dead)
    ]
    offenders += [*_malformed_lost(malformed, evidence), *_bytes_changed(evidence)]
    most = max(crashes.values(), default=0)
    figure = (
        f"{len(offenders)} faults: {len(poison)} poison jobs (at most {most} crashes), "
        f"{len(malformed)} malformed records, {len(evidence.dead)} dead letters compared"
    )
    return judged("P11", "poison contained", figure, offenders, of=len(poison) + len(malformed))


def _malformed_lost(malformed: list[dict[str, object]], evidence: Evidence) -> Iterator[str]:
    """What the load wrote, byte for byte, against what lies in the dead letter topic."""
    found = {letter.header("rig_id"): letter for letter in evidence.dead}
    for line in malformed:
        name = str(line["name"])
        letter = found.get(name)
        if letter is None:
            yield f"{name}: not in the dead letters"
            continue
        headers = [(key, base64.b64decode(raw)) for key, raw in json.loads(str(line["headers"]))]
        if (letter.value or b"") != base64.b64decode(str(line["value"])):
            yield f"{name}: its value has changed"
        if [(k, v) for k, v in letter.headers if not k.startswith(_OURS)] != headers:
            yield f"{name}: its headers have changed"


def _bytes_changed(evidence: Evidence) -> Iterator[str]:
    """Every dead letter against the record that it names."""
    for letter in evidence.dead:
        topic = letter.header("penstock_dead_topic") or ""
        place = (
            int(letter.header("penstock_dead_partition") or -1),
            int(letter.header("penstock_dead_offset") or -1),
        )
        source = next((r for r in evidence.topic(topic) if (r.partition, r.offset) == place), None)
        if source is None:
            yield f"a dead letter names {topic} {place}, where nothing is"
        elif (letter.key, letter.value, _own(letter)) != (source.key, source.value, _own(source)):
            yield f"the dead letter of {topic} {place} differs from its record"


def _own(record: LogRecord) -> list[tuple[str, bytes | None]]:
    return [(name, raw) for name, raw in record.headers if not name.startswith(_OURS)]
