"""How jobs look in answers: plain dictionaries, ready to be written."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from penstock_contracts.state import JobState

from gateway.queueing import QueueFigures

__all__ = ["JobViews", "rfc3339"]

_EVENT_MEMBERS = ("output", "usage", "error", "model", "provider", "deadline")


def rfc3339(value: datetime) -> str:
    """An instant as it goes over the wire, with milliseconds."""
    return value.astimezone(timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z"


class JobViews:
    """Renders jobs; knows the addresses that `links` name. `socket_url` None: the link is null."""

    def __init__(self, *, socket_url: str | None) -> None:
        self._socket_url = socket_url

    def links(self, job: str) -> dict[str, str | None]:
        """Where to go from a job."""
        own = f"/v1/jobs/{job}"
        return {
            "self": own,
            "result": f"{own}/result",
            "events": f"{own}/events",
            "cancel": f"{own}/cancel",
            "socket": self._socket_url,
        }

    def accepted(
        self,
        *,
        job: str,
        task: str,
        created_text: str,
        is_demoted: bool,
        figures: QueueFigures | None,
    ) -> dict[str, Any]:
        """A job that the log has just taken."""
        view: dict[str, Any] = {
            "id": job,
            "status": "queued",
            "task": task,
            "created_at": created_text,
            "queue": _queue(figures),
            "links": self.links(job),
        }
        if is_demoted:
            view["demoted"] = True
        return view

    def of_state(
        self, state: JobState, *, figures: QueueFigures | None, with_output: bool
    ) -> dict[str, Any]:
        """A job as the table has it. Lists leave the output out."""
        exclude = {"job", "tenant", "seq", "output_ref"} | (set() if with_output else {"output"})
        if not state.status.is_terminal and state.usage == type(state.usage)():
            exclude.add("usage")
        shown = state.model_dump(mode="json", exclude_none=True, exclude=exclude)
        view = {"id": state.job, "status": shown.pop("status"), **shown}
        if state.status == "queued":
            view["queue"] = _queue(figures)
        view["links"] = self.links(state.job)
        return view

    def ended(
        self,
        *,
        job: str,
        task: str,
        created_text: str,
        is_demoted: bool,
        event: dict[str, Any],
    ) -> dict[str, Any]:
        """A job that ended while its caller waited, from its terminal event."""
        view: dict[str, Any] = {
            "id": job,
            "status": event["type"],
            "task": task,
            "created_at": created_text,
        }
        view["ended_at"] = event.get("at")
        view["attempt"] = event.get("attempt")
        view |= {name: event[name] for name in _EVENT_MEMBERS if event.get(name) is not None}
        if is_demoted:
            view["demoted"] = True
        view["links"] = self.links(job)
        return view


def _queue(figures: QueueFigures | None) -> dict[str, Any]:
    known = figures or QueueFigures()
    return {
        "position": known.position,
        "estimated_start_s": known.start_s,
        "estimated_completion": None if known.completion is None else rfc3339(known.completion),
    }
