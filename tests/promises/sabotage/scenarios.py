"""Short runs on a small stack, each made so that one kind of break must show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.promises.load.crowd import crowd_jobs
from tests.promises.load.plan import Mix, PlannedJob
from tests.promises.load.waves import joining_jobs, lasting_jobs, wave_jobs
from tests.promises.schedule import Step

__all__ = ["SCENARIOS", "SMALL", "Scenario"]

SMALL: Mapping[str, int] = {"recorder": 1, "llm-worker": 2, "notifier": 1, "gateway": 1}


def _mix(**counts: float) -> Mix:
    return Mix(**{**Mix.none().facts(), **counts})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is sent and what is broken.

    Attributes:
        about_s: how long it takes: the longest begin first.
        takes_several: switches that break different promises may share a run.
    """

    about: str
    about_s: float
    takes_several: bool = False
    mix: Mix
    steps: Sequence[Step] = ()
    jobs: Callable[[], list[PlannedJob]] | None = None
    env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settle_s: float = 25.0
    idle_s: float = 2.0
    script: str = ""
    """What the provider does with calls that do not say it themselves."""


SCENARIOS: Mapping[str, Scenario] = {
    "calm": Scenario(
        about="no faults: streams that are cut, turns, retries, malformed records, bursts",
        about_s=28,
        takes_several=True,
        mix=_mix(
            seconds=5,
            plain=60,
            conversations=4,
            turns=6,
            rate_limited=6,
            failing=6,
            malformed=8,
            bursts=3,
            burst_size=10,
            follow_share=0.6,
        ),
    ),
    "killed-worker": Scenario(
        about="both workers are killed, with finished work beyond unfinished and right after it",
        about_s=70,
        mix=_mix(seconds=1),
        jobs=wave_jobs,
        steps=(
            Step(2.0, "kill", "llm-worker-1", 0.3, after_kind="plain", after_calls=40),
            Step(2.1, "kill", "llm-worker-2", 0.3, after_kind="plain", after_calls=40),
            Step(20.0, "kill", "llm-worker-1", 0.3, after_kind="late", after_calls=50),
            Step(20.1, "kill", "llm-worker-2", 0.3, after_kind="late", after_calls=50),
        ),
        settle_s=40.0,
    ),
    "joining-worker": Scenario(
        about="a worker was away for so long that the group forgot it; it joins amid long calls",
        about_s=50,
        mix=_mix(seconds=1),
        jobs=joining_jobs,
        steps=(Step(0.0, "freeze", "llm-worker-2", 8.0, until_kind="slow", until_begun=20),),
        settle_s=40.0,
    ),
    "zombie": Scenario(
        about="the only worker is frozen amid its calls, and wakes amid the repeats of another",
        about_s=55,
        mix=_mix(seconds=1),
        jobs=lasting_jobs,
        idle_s=40.0,
        steps=(
            Step(0.0, "term", "llm-worker-2", 0.0, until_kind="slow", until_begun=24),
            Step(
                4.0,
                "freeze",
                "llm-worker-1",
                11.0,
                after_kind="slow",
                amid_calls=24,
                until_kind="slow",
                until_begun=44,
            ),
        ),
        settle_s=40.0,
    ),
    "killed-gateway": Scenario(
        about="the broker is silent, the gateway dies",
        about_s=31,
        mix=_mix(seconds=8, plain=160),
        steps=(Step(2.0, "drop", "broker", 4.0), Step(4.0, "kill", "gateway-1", 0.3)),
    ),
    "cut-provider": Scenario(
        about="connections to the provider break before the first token",
        about_s=36,
        mix=_mix(seconds=4, plain=60),
        script="ttft_ms=1500",
        steps=tuple(Step(1.0 + n, "reset", "provider", 0.0) for n in range(6)),
    ),
    "emptied-redis": Scenario(
        about="Redis comes back empty, and no gateway is left that remembers the jobs by itself",
        about_s=28,
        mix=_mix(seconds=8, plain=80),
        steps=(
            Step(5.0, "wipe", "redis", 0.5, after_kind="plain", after_calls=30),
            Step(9.0, "kill", "gateway-1", 0.3, after_kind="plain", after_calls=60),
        ),
    ),
    "two-tenants": Scenario(
        about="few jobs alone, then beside a crowd, then equals",
        about_s=50,
        mix=_mix(seconds=1),
        jobs=crowd_jobs,
        env={"llm-worker": {"PENSTOCK_LLM_WORKER__MAX_IN_FLIGHT": "8"}},
        settle_s=90.0,
    ),
}
