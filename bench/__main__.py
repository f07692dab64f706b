"""`make bench`: every figure of the first whole beside its target, on a stack of its own.

Writes `bench/results/first-whole.json`. Takes about five minutes; run it on an idle machine.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from bench import embedder_smoke, first_token, first_use, memory, submit
from bench.rows import Row, print_rows, write_rows
from bench.stack import running_stack


def main() -> int:
    """Measure everything; 0 whatever the figures say, for they are results and not tests."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        root = Path(folder) / "stack"
        with running_stack(root):
            pass  # the first start formats the log; the warm one counts
        with running_stack(root) as stack:
            rows.append(Row.at_most("make up, warm", "s", [stack.up_s], 15))
            rows += memory.measure(stack)
            rows += asyncio.run(submit.measure(stack))
            rows += asyncio.run(first_token.measure(stack))
        rows.append(embedder_smoke.measure())
        rows.append(first_use.measure(Path(folder) / "first-use"))
    print_rows(rows)
    print("written to", write_rows("first-whole", rows).name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
