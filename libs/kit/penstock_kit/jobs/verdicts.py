"""What the ledger may answer to a worker that wants to run a job."""

from __future__ import annotations

from dataclasses import dataclass

from penstock_contracts.events import JobStatus

from penstock_kit.jobs.retry_state import RetryState
from penstock_kit.lanes.outcomes import Delivery
from penstock_kit.tenancy import TenantScope

__all__ = [
    "AlreadyOver",
    "Begin",
    "LostOutcome",
    "Moved",
    "Verdict",
    "line_of",
    "owner_of",
    "place_of",
]


@dataclass(frozen=True, slots=True)
class Begin:
    """Run this attempt. Hand the value back to `begin_again` or `finish`.

    Attributes:
        attempt: number of the attempt, from 1, higher than any before.
        had_output: an earlier attempt may have sent output: after `started`, send `reset`.
        owner: this delivery, in the words of its lease; a part of the fence.
        line: what copies of its record have in common, see `line_of`.
        crashes: attempts of the job that were begun and never ended, over its whole life.
    """

    scope: TenantScope
    job: str
    attempt: int
    had_output: bool
    owner: str
    line: str
    crashes: int = 0

    @property
    def place(self) -> str:
        """The record that carries the job."""
        return _place_in(self.owner)


@dataclass(frozen=True, slots=True)
class LostOutcome:
    """Do not call: an earlier attempt of an at-most-once job began, and nobody knows how it ended.

    The caller ends the job as `unknown_outcome` under this attempt number, then hands the value to
    `finish`.
    """

    scope: TenantScope
    job: str
    attempt: int
    owner: str
    line: str
    crashes: int = 0

    @property
    def place(self) -> str:
        """The record that carries the job."""
        return _place_in(self.owner)


@dataclass(frozen=True, slots=True)
class AlreadyOver:
    """Nothing to run: the job has ended. Let the record pass.

    Attributes:
        condemned: reason and code of the dead letter that this very record was to get, as given to
            `condemn`. Who ended the job may have died before it wrote the letter: write it again.
    """

    status: JobStatus
    condemned: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """Nothing to do: another record carries the job now, this one is a stale copy. Let it pass.

    The job was sent twice, or it waits in a retry topic and its source was delivered again.
    """


Verdict = Begin | LostOutcome | AlreadyOver | Moved


def place_of(delivery: Delivery) -> str:
    """The record that a delivery brings."""
    record = delivery.record
    return f"{record.topic}|{record.partition}|{record.offset}"


def line_of(delivery: Delivery) -> str:
    """What a record shares with its copies: where it was first written, and what it was told there.

    Lanes move a record that a rule holds, and one whose handler began nothing, to another place
    with the state that it had: whoever has begun it at the first place has begun the copy as well.
    A record that an attempt has left for the next one is of a line of its own.
    """
    note = delivery.note
    if note is None or note.offset < 0:
        return place_of(delivery)
    first = f"{note.source}|{note.partition}|{note.offset}"
    made = RetryState.read(note.state).attempt
    return f"{first}|{made}" if made else first


def owner_of(instance: str, delivery: Delivery) -> str:
    """Who runs it: the process and the delivery, with its assignment epoch."""
    return f"{instance}|{place_of(delivery)}|{delivery.epoch}"


def _place_in(owner: str) -> str:
    return "|".join(owner.split("|")[-4:-1])
