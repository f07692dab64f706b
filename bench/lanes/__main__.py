"""`make bench-lanes`: lanes beside every peer on one broker; writes bench/results/lanes.json.

    python -m bench.lanes [--rounds 7] [--only keyed,noop,slow,crash,joining,memory]

Run it on an idle machine; a full run takes about half an hour. Peers are installed on first use.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.lanes import crash, joining, keyed, memory, noop, slow
from bench.lanes.rows import Table
from tests.support.broker import native_broker

_PARTS = ("keyed", "noop", "slow", "crash", "joining", "memory")


def main() -> int:
    """Measure; 0 whatever the figures say, for they are results and not tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="of interleaved runs per workload")
    parser.add_argument("--only", default=",".join(_PARTS), help="parts, joined by commas")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        folder = Path(name)
        with native_broker(folder) as node:
            table = _measure(parts, node.bootstrap, folder, rounds=arguments.rounds)
    table.show()
    table.write("lanes")
    return 0


def _measure(parts: list[str], bootstrap: str, folder: Path, *, rounds: int) -> Table:
    table = Table([], [])
    if "keyed" in parts:
        table.extend(keyed.measure(bootstrap, folder, rounds=rounds))
    if "noop" in parts:
        table.extend(noop.measure(bootstrap, folder, rounds=rounds))
    if "slow" in parts:
        table.extend(slow.measure(bootstrap, folder))
    if "crash" in parts:
        table.extend(crash.measure(bootstrap, folder))
    if "joining" in parts:
        table.extend(joining.measure(bootstrap, folder))
    if "memory" in parts:
        table.extend(memory.measure(bootstrap, folder))
    return table


if __name__ == "__main__":
    sys.exit(main())
