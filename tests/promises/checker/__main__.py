"""`python -m tests.promises.checker FOLDER`: judge evidence again; 1 if a promise is broken."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.promises.checker.judge import judge, write_verdicts
from tests.promises.report import verdict_lines


def main() -> int:
    """Print the table."""
    folder = Path(sys.argv[1])
    verdicts = judge(folder)
    write_verdicts(folder / "verdicts.json", verdicts)
    print("\n".join(verdict_lines(verdicts)))
    return int(any(verdict.is_kept is False for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
