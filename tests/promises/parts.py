"""The parts of a whole run: a seed, a special situation. Each prints itself when it is done."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.promises.chaos import Chaos, run_chaos
from tests.promises.checker.judge import judge, write_verdicts
from tests.promises.checker.verdict import Verdict
from tests.promises.load.plan import Mix
from tests.promises.report import verdict_lines
from tests.promises.scale import SCALES
from tests.promises.schedule import draw_schedule, read_schedule
from tests.promises.specials.catalog import SPECIALS

__all__ = ["Judged", "Part", "SeedPart", "SpecialPart"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A part that is over, and what was found of it."""

    part: str
    verdicts: Sequence[Verdict]


@dataclass(frozen=True, slots=True)
class SeedPart:
    """Everything breaks: one seed."""

    folder: Path
    seed: int
    scale: str
    replay: Path | None = None

    def run(self) -> Judged:
        """Load and faults of the seed, or of a schedule that was kept."""
        began, scale, seed = time.monotonic(), SCALES[self.scale], self.seed
        steps = draw_schedule(seed, load_s=scale.load_s, times=scale.faults)
        if self.replay is not None:
            seed, steps = read_schedule(self.replay)
        mix = Mix.scaled(scale.jobs, seconds=scale.load_s)
        skew_s = 3600.0 if seed % 2 else -3600.0
        shutil.rmtree(self.folder, ignore_errors=True)
        chaos = Chaos(folder=self.folder, seed=seed, mix=mix, steps=steps, skew_s=skew_s)
        verdicts = judge(asyncio.run(run_chaos(chaos)))
        about = f"seed {seed}: {len(steps)} faults, {self.folder}/schedule.json"
        return _done(f"seed {seed}", about, self.folder, verdicts, began)


@dataclass(frozen=True, slots=True)
class SpecialPart:
    """One special situation."""

    folder: Path
    name: str

    def run(self) -> Judged:
        """Run it as the catalog says."""
        began = time.monotonic()
        shutil.rmtree(self.folder, ignore_errors=True)
        return _done(self.name, self.name, self.folder, SPECIALS[self.name].run(self.folder), began)


Part = SeedPart | SpecialPart


def _done(name: str, about: str, folder: Path, verdicts: Sequence[Verdict], began: float) -> Judged:
    write_verdicts(folder / "verdicts.json", verdicts)
    lines = ["", f"{about}, {time.monotonic() - began:.0f} s", *verdict_lines(verdicts)]
    print("\n".join(lines), flush=True)
    return Judged(name, verdicts)
