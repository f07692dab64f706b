"""A few jobs of a tenant alone, the same beside a crowd of another, then five equals."""

from __future__ import annotations

from tests.promises.load.plan import PlannedJob

__all__ = ["crowd_jobs"]

_CALL = "tokens=20;rate=100;ttft_ms=5"
"""A fifth of a second."""


def crowd_jobs(*, crowd: int = 600, guests: int = 20, equals: int = 60) -> list[PlannedJob]:
    """All jobs in order of time.

    The crowd needs many seconds on its 16 places, so a guest who had to queue behind it would show.
    """
    jobs: list[PlannedJob] = []

    def add(kind: str, tenant: str, at_s: float) -> None:
        number = len(jobs) + 1
        jobs.append(
            PlannedJob(
                number=number,
                kind=kind,
                key=f"{kind}-{number}",
                at_s=at_s,
                tenant=tenant,
                script=_CALL,
            )
        )

    for n in range(guests):
        add("alone", "other", 0.5 + n * 0.1)
    for n in range(crowd):
        add("crowd", "dev", 4.0 + n * 0.001)
    for n in range(guests):
        add("guest", "other", 6.0 + n * 0.1)
    for n in range(equals):
        for tenant in ("dev", "other", "third", "fourth", "fifth"):
            add("equal", tenant, 20.0 + n * 0.004)
    return jobs
