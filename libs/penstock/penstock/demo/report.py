"""What the demonstration tells: steps with their times, and whether each part held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from penstock_kit.clock import Clock
from penstock_kit.errors import PenstockError

__all__ = ["DemoFailed", "Part", "Report"]


class DemoFailed(PenstockError):
    """Something did not come out as promised; the message says what was expected and what came."""


@dataclass(slots=True)
class Part:
    """One of the three parts, as it is reported."""

    title: str
    steps: list[tuple[str, float]] = field(default_factory=list)
    failure: str | None = None
    took_s: float = 0.0


class Report:
    """Collects the parts and says each step at once."""

    def __init__(self, *, clock: Clock, say: Callable[[str], None]) -> None:
        self.parts: list[Part] = []
        self._clock = clock
        self._say = say
        self._began = clock.monotonic()

    @property
    def has_failed(self) -> bool:
        """Whether any part did not hold."""
        return any(part.failure is not None for part in self.parts)

    @contextmanager
    def part(self, title: str) -> Iterator[None]:
        """Run one part; its failure is noted and said, and the next part may follow."""
        part = Part(f"{len(self.parts) + 1}. {title}")
        self.parts.append(part)
        self._began = self._clock.monotonic()
        self._say(f"\n{part.title}")
        try:
            yield
        except (PenstockError, TimeoutError) as error:
            part.failure = str(error) or "the time is up"
        part.took_s = self._elapsed_s()
        outcome = "holds" if part.failure is None else f"FAILED: {part.failure}"
        self._say(f"   {outcome} ({part.took_s:.2f} s)")

    def step(self, text: str) -> None:
        """Say what just happened, and when."""
        self.parts[-1].steps.append((text, self._elapsed_s()))
        self._say(f"   {self._elapsed_s():6.2f} s  {text}")

    def check(self, holds: bool, expectation: str) -> None:  # noqa: FBT001 - the condition itself
        """Demand something of the stack.

        Raises:
            DemoFailed: it does not hold.
        """
        if not holds:
            raise DemoFailed(f"expected {expectation}; read the logs of the stack")

    def document(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "ok": not self.has_failed,
            "parts": [
                {
                    "title": part.title,
                    "ok": part.failure is None,
                    "failure": part.failure,
                    "took_s": round(part.took_s, 3),
                    "steps": [{"text": text, "at_s": round(at_s, 3)} for text, at_s in part.steps],
                }
                for part in self.parts
            ],
        }

    def _elapsed_s(self) -> float:
        return self._clock.monotonic() - self._began
