"""A run that fails or is killed says so, and takes nothing else along."""

from __future__ import annotations

import os
import signal

from tests.promises.checker.verdict import Verdict, judged
from tests.promises.tracks import to_the_end


class Unpicklable(Exception):
    """As errors of the product are: cannot be made from its message alone."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


def well() -> list[Verdict]:
    return [judged("P1", "claim", "figure", [], of=1)]


def failing() -> list[Verdict]:
    raise Unpicklable("no ", "way")


def killed() -> list[Verdict]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_run_when_it_ends_then_its_verdicts() -> None:
    assert to_the_end("well", well) == well()


def test_run_when_it_fails_or_is_killed_then_a_broken_p0() -> None:
    for function, why in ((failing, "no way"), (killed, "was killed")):
        (verdict,) = to_the_end("bad", function)

        assert (verdict.promise, verdict.is_kept) == ("P0", False)
        assert why in verdict.offenders[0]
