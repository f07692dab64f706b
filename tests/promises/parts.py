"""The parts of a whole run: a seed, a special situation. Each prints itself when it is done."""

from __future__ import annotations

import asyncio
import shutil
import time
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

__all__ = ["Part", "SeedPart", "SpecialPart"]


@dataclass(frozen=True, slots=True)
class SeedPart:
    """Everything breaks: one seed."""

    folder: Path
    seed: int
    scale: str
    replay: Path | None = None

    @property
    def title(self) -> str:
        """Its name in the table."""
        return f"seed {self.seed}"

    def run(self) -> list[Verdict]:
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
        return _done(about, self.folder, verdicts, began)


@dataclass(frozen=True, slots=True)
class SpecialPart:
    """One special situation."""

    folder: Path
    name: str

    @property
    def title(self) -> str:
        """Its name in the table."""
        return self.name

    def run(self) -> list[Verdict]:
        """Run it as the catalog says."""
        began = time.monotonic()
        shutil.rmtree(self.folder, ignore_errors=True)
        return _done(self.name, self.folder, SPECIALS[self.name].run(self.folder), began)


Part = SeedPart | SpecialPart


def _done(about: str, folder: Path, verdicts: list[Verdict], began: float) -> list[Verdict]:
    write_verdicts(folder / "verdicts.json", verdicts)
    lines = ["", f"{about}, {time.monotonic() - began:.0f} s", *verdict_lines(verdicts)]
    print("\n".join(lines), flush=True)
    return verdicts
