"""`python -m penstock.dev '<options as JSON>'`: the supervisor; people use `penstock dev`."""

from __future__ import annotations

import sys

from penstock_kit.errors import PenstockError

from penstock.dev.options import StackOptions
from penstock.dev.stack import supervise


def main() -> int:
    """Run one stack."""
    options = StackOptions.model_validate_json(sys.argv[1])
    try:
        return supervise(options)
    except PenstockError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
