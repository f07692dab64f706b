"""Evidence made by hand: a folder as a run leaves it, line by line."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.promises.checker.evidence import Evidence

__all__ = ["Story", "T", "b64"]

T = 1000.0


class Story:
    """Builds a folder of evidence, line by line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._offsets: dict[str, int] = {}

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.folder)

    def line(self, journal: str, /, **members: Any) -> None:
        path = self.folder / f"{journal}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(members) + "\n")

    def record(
        self,
        topic: str,
        value: bytes,
        headers: dict[str, str] | None = None,
        *,
        at: float = T,
        key: bytes | None = None,
    ) -> int:
        offset = self._offsets.get(topic, 0)
        self._offsets[topic] = offset + 1
        self.line(
            f"topics/{topic}",
            p=0,
            o=offset,
            ts=at,
            key=None if key is None else b64(key),
            headers=[[name, b64(text.encode())] for name, text in (headers or {}).items()],
            value=b64(value),
        )
        return offset

    def event(self, job: str, kind: str, place: str, *, at: float = T, **members: Any) -> None:
        attempt, _, seq = place.partition("-")
        body = {"type": kind, "job": job, "attempt": int(attempt), "seq": int(seq), **members}
        self.record("ai.jobs.events.v1", json.dumps(body).encode(), at=at)

    def job(self, job: str, kind: str = "plain", **plan: Any) -> None:
        number = len(self.evidence.jobs) + 1
        self.line("jobs", event="planned", number=number, kind=kind, key=f"{kind}-{number}", **plan)
        self.line("jobs", event="known", number=number, job=job)
        self.record(
            "ai.chat.requests.v1",
            b"{}",
            {"ce_subject": job, "ce_type": "penstock.job.request.v1"},
        )

    def call(
        self,
        job: str,
        attempt: int,
        *,
        at: float,
        until: float | None = None,
        how: str = "completed",
    ) -> None:
        path = self.folder / "provider.jsonl"
        number = len(path.read_text().splitlines()) + 1 if path.exists() else 1
        self.line("provider", event="charged", call=number, at=at, job=job, attempt=str(attempt))
        if until is not None:
            self.line("provider", event="ended", call=number, at=until, how=how, job=job)

    def kill(self, label: str, *, at: float) -> None:
        self.line("processes", event="signal", label=label, pid=1, signal="SIGKILL", at=at)


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
