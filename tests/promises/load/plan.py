"""Which jobs a seed has: kinds, prompts, pace. The same seed is the same load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any

from tests.promises.launched import CRASH_MARK

__all__ = ["Mix", "PlannedJob", "draw_jobs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """A job before it is sent.

    Attributes:
        at_s: when its first send is due. Turns of a conversation wait for the turn before.
        via: http, confluent or aiokafka.
        script: what the provider does with it, in its own words.
        retry_after_s: what the provider asks for when it refuses; 0 if it does not.
        sends: how many identical requests at once.
    """

    number: int
    kind: str
    at_s: float
    via: str = "http"
    task: str = "chat"
    script: str = ""
    key: str = ""
    conversation: str | None = None
    turn: int = 0
    charge: str = "at_least_once"
    deadline_s: float | None = None
    retry_after_s: float = 0.0
    sends: int = 1
    follow: str | None = None
    tenant: str = "dev"

    @property
    def prompt(self) -> str:
        """What the user says; the provider finds its script in it."""
        mark = f" {CRASH_MARK}" if self.kind == "poison" else ""
        script = f" [[{self.script}]]" if self.script else ""
        return f"{self.kind} {self.number}{mark}{script}"

    def input(self) -> dict[str, Any]:
        """The task's input."""
        if self.task == "embed":
            return {"texts": [self.prompt]}
        return {"messages": [{"role": "user", "content": self.prompt}]}

    def body(self) -> dict[str, Any]:
        """The body of `POST /v1/jobs`."""
        body: dict[str, Any] = {"task": self.task, "input": self.input(), "charge": self.charge}
        if self.conversation is not None:
            body["conversation"] = self.conversation
        if self.deadline_s is not None:
            body["deadline_s"] = self.deadline_s
        return body

    def facts(self) -> dict[str, Any]:
        """For the evidence."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How many of each kind."""

    seconds: float = 60.0
    plain: int = 700
    slow: int = 15
    embed: int = 40
    conversations: int = 20
    turns: int = 10
    at_most_once: int = 60
    deadlines: int = 20
    cancels: int = 30
    rate_limited: int = 25
    failing: int = 45
    refused: int = 10
    poison: int = 3
    malformed: int = 12
    bursts: int = 15
    burst_size: int = 20
    follow_share: float = 0.2
    names: str = ""

    def facts(self) -> dict[str, Any]:
        """All members by name."""
        return asdict(self)

    @classmethod
    def none(cls) -> Mix:
        """Not a single job."""
        nothing: dict[str, Any] = dict.fromkeys(_COUNTS, 0)
        return replace(cls(), **nothing)

    @classmethod
    def scaled(cls, factor: float, *, seconds: float) -> Mix:
        """Everything `factor` times."""
        base = cls()
        counts: dict[str, Any] = {
            name: max(1, round(getattr(base, name) * factor)) for name in _COUNTS
        }
        return replace(base, seconds=seconds, **counts)


_COUNTS = (
    "plain",
    "slow",
    "embed",
    "conversations",
    "at_most_once",
    "deadlines",
    "cancels",
    "rate_limited",
    "failing",
    "refused",
    "poison",
    "malformed",
    "bursts",
)
_FAULTS = (
    "status=500;times=1",
    "status=503;times=2",
    "cut=4;times=1",
    "end=3;times=1",
    "hang=4;times=1",
    "error=2;times=1",
)


_SENT_WITHIN = {"poison": 1 / 3}
"""Share of the time. A poison job kills three workers one after the other, each time when the last
death is got over: sent early, it does all that under load."""


def draw_jobs(seed: int, mix: Mix) -> list[PlannedJob]:
    """All jobs of a seed, in order of their first send."""
    random = Random(f"load {seed}")
    numbers = iter(range(1, 1_000_000))
    jobs = [
        *_single(random, numbers, mix),
        *_conversations(random, numbers, mix),
        *_bursts(random, numbers, mix),
    ]
    return sorted(jobs, key=lambda job: job.at_s)


def _single(random: Random, numbers: Iterator[int], mix: Mix) -> Iterator[PlannedJob]:
    for kind, count in (
        ("plain", mix.plain),
        ("slow", mix.slow),
        ("embed", mix.embed),
        ("at_most_once", mix.at_most_once),
        ("deadline", mix.deadlines),
        ("cancel", mix.cancels),
        ("rate_limited", mix.rate_limited),
        ("failing", mix.failing),
        ("refused", mix.refused),
        ("poison", mix.poison),
    ):
        for _ in range(count):
            number = next(numbers)
            yield PlannedJob(
                number=number,
                kind=kind,
                key=f"{mix.names}{kind}-{number}",
                at_s=random.uniform(0, mix.seconds * _SENT_WITHIN.get(kind, 1.0)),
                follow=_follower(random, kind, mix.follow_share),
                **_own(random, kind),
            )


def _own(random: Random, kind: str) -> dict[str, Any]:
    """What a kind has for itself; rates give calls of 50 to 500 ms, tails and faults more."""
    tokens, rate = random.randint(5, 50), random.choice((80, 120, 200))
    pace = f"tokens={tokens};rate={rate}"
    after = random.choice((1, 2))
    limited = f"{pace};status=429;retry_after={after};times=1"
    by_kind: dict[str, dict[str, Any]] = {
        "slow": {"script": f"tokens=200;rate={random.choice((20, 40))}"},
        "embed": {"task": "embed", "via": random.choice(("http", "confluent"))},
        "at_most_once": {"script": "tokens=120;rate=60", "charge": "at_most_once"},
        "deadline": {"script": pace, "deadline_s": round(random.uniform(0.5, 3.0), 2)},
        "cancel": {"script": "tokens=200;rate=50"},
        "rate_limited": {"script": limited, "retry_after_s": float(after)},
        "failing": {"script": f"{pace};{random.choice(_FAULTS)}"},
        "refused": {"script": "status=400"},
    }
    return by_kind.get(kind, {"script": pace})


def _follower(random: Random, kind: str, share: float) -> str | None:
    if kind in ("poison", "embed") or random.random() >= share:
        return None
    return random.choice(("sse", "socket"))


def _conversations(random: Random, numbers: Iterator[int], mix: Mix) -> Iterator[PlannedJob]:
    """Turns of one key through all three doors in turn."""
    for conversation in range(mix.conversations):
        begins = random.uniform(0, mix.seconds / 2)
        doors = random.sample(("http", "confluent", "aiokafka"), 3)
        for turn in range(mix.turns):
            number = next(numbers)
            yield PlannedJob(
                number=number,
                kind="turn",
                key=f"{mix.names}turn-{conversation}-{turn}",
                at_s=begins + turn * 0.01,
                via=doors[turn % 3],
                script=f"tokens={random.randint(5, 30)};rate=150",
                conversation=f"talk-{mix.names}{conversation}",
                turn=turn,
            )


def _bursts(random: Random, numbers: Iterator[int], mix: Mix) -> Iterator[PlannedJob]:
    for n in range(mix.bursts):
        number = next(numbers)
        via = "http" if n % 3 else random.choice(("confluent", "aiokafka"))
        yield PlannedJob(
            number=number,
            kind="burst",
            via=via,
            key=f"{mix.names}burst-{number}",
            at_s=random.uniform(0, mix.seconds),
            script="tokens=30;rate=100",
            sends=mix.burst_size if via == "http" else 3,
        )
