"""Which fault comes when: made from a seed, kept in a file, replayed from it exactly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

__all__ = ["Fault", "Step", "draw_schedule", "read_schedule", "write_schedule"]

_FIRST_S = 4.0
"""The load is under way when the first fault comes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault and how long it lasts; `times` per schedule at scale 1."""

    action: str
    targets: tuple[str, ...]
    for_s: tuple[float, float]
    times: int


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: `at_s` after the load began, undone `for_s` later.

    `after_calls`: not before so many calls of jobs of kind `after_kind` were completed, too.
    `amid_calls`: not before so many calls of jobs of kind `after_kind` are under way, too.
    `until_begun`: not undone before so many calls of jobs of kind `until_kind` have begun, too.
    """

    at_s: float
    action: str
    target: str
    for_s: float
    after_kind: str = ""
    after_calls: int = 0
    amid_calls: int = 0
    until_kind: str = ""
    until_begun: int = 0

    @property
    def ends_s(self) -> float:
        """When it is undone."""
        return self.at_s + self.for_s


WORKERS = ("llm-worker-1", "llm-worker-2", "llm-worker-3")

DECK: Sequence[Fault] = (
    Fault("kill", WORKERS, (0.2, 3.0), 4),
    Fault("kill", ("embedder-1",), (0.2, 2.0), 1),
    Fault("kill", ("gateway-1", "gateway-2"), (0.2, 2.0), 2),
    Fault("kill", ("notifier-1", "notifier-2"), (0.2, 2.0), 2),
    Fault("kill", ("recorder-1", "recorder-2"), (0.2, 2.0), 2),
    Fault("kill", ("kafka",), (0.2, 1.0), 1),
    Fault("kill", ("redis",), (0.2, 2.0), 1),
    Fault("wipe", ("redis",), (0.5, 2.0), 1),
    Fault("flush", ("redis",), (0.0, 0.0), 1),
    Fault("term", WORKERS, (0.2, 1.0), 1),
    Fault("term", ("gateway-1", "recorder-1", "notifier-1"), (0.2, 1.0), 1),
    Fault("freeze", WORKERS, (18.0, 19.0), 1),
    Fault("freeze", ("gateway-2", "notifier-2", "recorder-2"), (2.0, 5.0), 1),
    Fault("reset", ("broker",), (0.0, 0.0), 1),
    Fault("drop", ("broker", "victim"), (2.0, 5.0), 1),
    Fault("half_open", ("broker", "redis", "provider"), (1.0, 3.0), 1),
    Fault("reset", ("redis",), (0.0, 0.0), 1),
    Fault("delay", ("redis",), (2.0, 4.0), 1),
    Fault("drop", ("redis",), (1.0, 3.0), 1),
    Fault("reset", ("provider",), (0.0, 0.0), 1),
    Fault("refuse", ("provider",), (0.5, 1.5), 1),
)
"""Every kind of fault on everything that can have it; 14 SIGKILLs among them at scale 1."""


def draw_schedule(
    seed: int, *, load_s: float, times: float = 1.0, deck: Sequence[Fault] = DECK
) -> list[Step]:
    """The steps of a seed, in order of time. No two faults of one target overlap."""
    random = Random(f"schedule {seed}")
    steps: list[Step] = []
    for fault in deck:
        for _ in range(max(1, round(fault.times * times))):
            steps.append(_place(fault, steps, random, load_s))
    return sorted(steps, key=lambda step: step.at_s)


def _place(fault: Fault, steps: Sequence[Step], random: Random, load_s: float) -> Step:
    """A moment at which the target is well; late if the whole time is taken."""
    for_s = round(random.uniform(*fault.for_s), 2)
    latest = max(_FIRST_S, load_s - for_s)
    for _ in range(50):
        target = random.choice(fault.targets)
        step = Step(round(random.uniform(_FIRST_S, latest), 2), fault.action, target, for_s)
        if not any(_overlap(step, other) for other in steps):
            return step
    end = max(step.ends_s for step in steps)
    return Step(round(end + 1.0, 2), fault.action, target, for_s)


def _overlap(one: Step, other: Step) -> bool:
    """A restarted process needs a moment before it is worth another fault."""
    rest_s = 3.0
    return (
        one.target == other.target
        and one.at_s < other.ends_s + rest_s
        and other.at_s < one.ends_s + rest_s
    )


def write_schedule(path: Path, seed: int, steps: Sequence[Step]) -> None:
    """Keep it for a replay: `python -m tests.promises --replay FILE`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"seed": seed, "steps": [asdict(s) for s in steps]}, indent=1))


def read_schedule(path: Path) -> tuple[int, list[Step]]:
    """The inverse."""
    content = json.loads(path.read_text())
    return content["seed"], [Step(**step) for step in content["steps"]]
