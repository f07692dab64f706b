"""`python -m tests.promises`: prove the promises; the exit status tells whether all were kept."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.promises.chaos import Chaos, run_chaos
from tests.promises.checker.judge import judge, write_verdicts
from tests.promises.checker.verdict import Verdict
from tests.promises.load.plan import Mix
from tests.promises.report import summary_lines, verdict_lines
from tests.promises.sabotage.matrix import Row, matrix_lines, run_matrix
from tests.promises.sabotage.switches import SWITCHES
from tests.promises.scale import SCALES, Scale
from tests.promises.schedule import draw_schedule, read_schedule
from tests.promises.specials.catalog import SPECIALS

_PARTS = ("chaos", "specials", "sabotage")


def main() -> int:
    """Run the parts that are asked for."""
    options = _options()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="penstock-promises-"))
    scale = SCALES[options.scale]
    print(f"evidence: {folder}\nscale {options.scale}: {scale.about}", flush=True)
    verdicts: list[Verdict] = []
    if "chaos" in options.parts:
        seeds = [options.seed] if options.seed else range(1, options.seeds + 1)
        for seed in seeds:
            verdicts += _chaos(folder / f"seed-{seed}", seed, scale, replay=options.replay)
    if "specials" in options.parts:
        for name in options.special or SPECIALS:
            verdicts += _special(folder / name, name)
    rows: list[Row] = []
    if "sabotage" in options.parts:
        rows = run_matrix(folder / "sabotage", options.switch)
    write_verdicts(folder / "verdicts.json", verdicts)
    print("\n".join(summary_lines(verdicts) if verdicts else []))
    print("\n".join(matrix_lines(rows) if rows else []), flush=True)
    broken = any(v.is_kept is False for v in verdicts) or not all(row.is_right for row in rows)
    if not broken and options.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    return int(broken)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(_PARTS), help=f"of {', '.join(_PARTS)}")
    parser.add_argument("--seeds", type=int, default=int(os.environ.get("SEEDS") or 3))
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--scale", choices=SCALES, default=os.environ.get("SCALE") or "ci")
    parser.add_argument("--replay", type=Path, help="a schedule.json instead of a drawn one")
    parser.add_argument("--special", nargs="*", choices=SPECIALS, help="only these, of specials")
    parser.add_argument("--switch", nargs="*", choices=SWITCHES, help="only these, of sabotage")
    parser.add_argument("--folder", type=Path, help="keep the evidence here")
    return parser.parse_args()


def _special(folder: Path, name: str) -> Sequence[Verdict]:
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    verdicts = SPECIALS[name](folder)
    write_verdicts(folder / "verdicts.json", verdicts)
    print(f"\n{name}: {time.monotonic() - began:.0f} s")
    print("\n".join(verdict_lines(verdicts)), flush=True)
    return verdicts


def _chaos(folder: Path, seed: int, scale: Scale, *, replay: Path | None) -> Sequence[Verdict]:
    began = time.monotonic()
    steps = draw_schedule(seed, load_s=scale.load_s, times=scale.faults)
    if replay is not None:
        seed, steps = read_schedule(replay)
    mix = Mix.scaled(scale.jobs, seconds=scale.load_s)
    skew_s = 3600.0 if seed % 2 else -3600.0
    shutil.rmtree(folder, ignore_errors=True)
    chaos = Chaos(folder=folder, seed=seed, mix=mix, steps=steps, skew_s=skew_s)
    evidence = asyncio.run(run_chaos(chaos))
    verdicts = judge(evidence)
    write_verdicts(folder / "verdicts.json", verdicts)
    took_s = time.monotonic() - began
    print(f"\nseed {seed}: {len(steps)} faults, {took_s:.0f} s, {folder}/schedule.json")
    print("\n".join(verdict_lines(verdicts)), flush=True)
    return verdicts


if __name__ == "__main__":
    sys.exit(main())
