"""Long, unrepeatable and short jobs at fixed times, made for workers that go and come between."""

from __future__ import annotations

from tests.promises.load.plan import PlannedJob

__all__ = ["joining_jobs", "lasting_jobs", "wave_jobs"]

_LONG = "tokens=160;rate=20"
_LASTS = "tokens=200;rate=20"
_LASTS_LONGER = "tokens=300;rate=20"
_ONCE = "tokens=120;rate=60"
_SHORT = "tokens=10;rate=100;ttft_ms=5"


def wave_jobs() -> list[PlannedJob]:
    """Two waves: 0 to 3 s with long calls among short ones, 16 to 23 s with short ones only.

    At 3 s finished work lies beyond unfinished; at 22 s whatever was finished has just been so.
    """
    jobs: list[PlannedJob] = []

    def add(kind: str, at_s: float, script: str, *, charge: str = "at_least_once") -> None:
        number = len(jobs) + 1
        key = f"{kind}-{number}"
        jobs.append(
            PlannedJob(number=number, kind=kind, key=key, at_s=at_s, script=script, charge=charge)
        )

    for n in range(12):
        add("slow", 0.3 + n * 0.05, _LONG)
    for n in range(20):
        add("at_most_once", 1.5 + n * 0.07, _ONCE, charge="at_most_once")
    for n in range(80):
        add("plain", 0.8 + n * 0.025, _SHORT)
    for n in range(140):
        add("late", 16.0 + n * 0.05, _SHORT)
    return sorted(jobs, key=lambda job: job.at_s)


def joining_jobs() -> list[PlannedJob]:
    """Calls of 15 seconds, from second 7 on: longer than a worker that gives way waits for them.

    A worker that was frozen since second 0 is out of the group by then.
    """
    short = [
        PlannedJob(number=n + 1, kind="plain", key=f"plain-{n}", at_s=n * 0.2, script=_SHORT)
        for n in range(20)
    ]
    return short + [
        PlannedJob(
            number=n + 21,
            kind="slow",
            key=f"slow-{n}",
            at_s=7.0 + n * 0.04,
            script=_LASTS_LONGER,
        )
        for n in range(24)
    ]


def lasting_jobs() -> list[PlannedJob]:
    """Calls of ten seconds, all begun within one: what a single worker holds when it is frozen."""
    return [
        PlannedJob(number=n + 1, kind="slow", key=f"slow-{n}", at_s=4.0 + n * 0.04, script=_LASTS)
        for n in range(24)
    ]
