"""What the ledger may answer to a worker that wants to run a job."""

from __future__ import annotations

from dataclasses import dataclass

from penstock_contracts.events import JobStatus

from penstock_kit.lanes.outcomes import Delivery
from penstock_kit.tenancy import TenantScope

__all__ = ["AlreadyOver", "Begin", "LostOutcome", "Moved", "Verdict", "owner_of", "place_of"]


@dataclass(frozen=True, slots=True)
class Begin:
    """Run this attempt. Hand the value back to `begin_again` or `finish`.

    Attributes:
        attempt: number of the attempt, from 1, higher than any before.
        had_output: an earlier attempt may have sent output: after `started`, send `reset`.
        owner: this delivery, in the words of its lease; a part of the fence.
        crashes: attempts of the job that were begun and never ended, over its whole life.
    """

    scope: TenantScope
    job: str
    attempt: int
    had_output: bool
    owner: str
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


def owner_of(instance: str, delivery: Delivery) -> str:
    """Who runs it: the process and the delivery, with its assignment epoch."""
    return f"{instance}|{place_of(delivery)}|{delivery.epoch}"


def _place_in(owner: str) -> str:
    return "|".join(owner.split("|")[-4:-1])
