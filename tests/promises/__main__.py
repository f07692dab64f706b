"""`python -m tests.promises`: prove the promises; the exit status tells whether all were kept."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.promises.checker.judge import write_verdicts
from tests.promises.checker.verdict import Verdict
from tests.promises.parts import SeedPart, SpecialPart
from tests.promises.report import summary_lines
from tests.promises.sabotage.matrix import Row, matrix_lines, run_matrix
from tests.promises.sabotage.switches import SWITCHES
from tests.promises.scale import SCALES
from tests.promises.specials.catalog import SPECIALS
from tests.promises.tracks import Judged, run_tracks

_PARTS = ("chaos", "specials", "sabotage")


def main() -> int:
    """Run the parts that are asked for."""
    options = _options()
    began = time.monotonic()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="penstock-promises-"))
    print(f"evidence: {folder}\nscale {options.scale}: {SCALES[options.scale].about}", flush=True)
    judged = _prove(folder, options)
    rows: list[Row] = []
    if "sabotage" in options.parts:
        print("\nsabotage", flush=True)
        rows = run_matrix(
            folder / "sabotage",
            options.switch,
            each_alone=options.each_alone,
            known=_known(judged),
        )
    verdicts = [verdict for one in judged for verdict in one.verdicts]
    write_verdicts(folder / "verdicts.json", verdicts)
    print("\n".join(summary_lines([(one.part, one.verdicts) for one in judged])))
    print("\n".join(matrix_lines(rows) if rows else []))
    print(f"\n{time.monotonic() - began:.0f} s", flush=True)
    broken = any(v.is_kept is False for v in verdicts) or not all(row.is_right for row in rows)
    if not broken and options.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    return int(broken)


def _prove(folder: Path, options: argparse.Namespace) -> list[Judged]:
    """Seeds beside the situations that only wait; then, alone, those whose latency is judged."""
    seeds: list[SeedPart] = []
    if "chaos" in options.parts:
        numbers = [options.seed] if options.seed else range(1, options.seeds + 1)
        seeds = [
            SeedPart(folder / f"seed-{seed}", seed, options.scale, options.replay)
            for seed in numbers
        ]
    specials: list[SpecialPart] = []
    if "specials" in options.parts:
        names = options.special or [n for n, s in SPECIALS.items() if options.soak or not s.is_long]
        specials = [SpecialPart(folder / name, name) for name in names]
    alone = [part for part in specials if SPECIALS[part.name].is_timed]
    beside = [part for part in specials if part not in alone]
    return [*run_tracks([seeds, beside]), *run_tracks([alone])]


def _known(judged: Sequence[Judged]) -> dict[str, Sequence[Verdict]]:
    """Scenarios of the matrix that have been run without a switch."""
    names = {"tenants": "two-tenants"}
    return {names[one.part]: one.verdicts for one in judged if one.part in names}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(_PARTS), help=f"of {', '.join(_PARTS)}")
    parser.add_argument("--seeds", type=int, default=int(os.environ.get("SEEDS") or 3))
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--scale", choices=SCALES, default=os.environ.get("SCALE") or "ci")
    parser.add_argument("--replay", type=Path, help="a schedule.json instead of a drawn one")
    parser.add_argument("--special", nargs="*", choices=SPECIALS, help="only these, of specials")
    parser.add_argument(
        "--soak",
        action="store_true",
        default=os.environ.get("SOAK") == "1",
        help="ten minutes of steady load as well (P20)",
    )
    parser.add_argument("--switch", nargs="*", choices=SWITCHES, help="only these, of sabotage")
    parser.add_argument("--each-alone", action="store_true", help="no switches share a run")
    parser.add_argument("--folder", type=Path, help="keep the evidence here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
