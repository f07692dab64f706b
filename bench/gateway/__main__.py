"""`make bench-gateway`: the OpenAI front door and what is behind it, beside its peers.

    python -m bench.gateway [--rows streaming,ingest] [--rounds 5] [--quick] [--no-peers]

Writes bench/results/gateway.json after each row. Run it on an idle machine: a full run takes about
an hour, a quick one twelve minutes. Peers are installed on first use.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping

from bench.gateway import batch, fan_out, idle, ingest, round_trip, streaming
from bench.gateway.load import client_program
from bench.gateway.rounds import Effort
from bench.gateway.table import Part, Table

_ROWS: Mapping[str, Callable[[Effort], Part]] = {
    "streaming": streaming.measure,
    "ingest": ingest.measure,
    "round-trip": round_trip.measure,
    "fan-out": fan_out.measure,
    "batch": batch.measure,
    "idle-streams": idle.measure_streams,
    "idle-sockets": idle.measure_sockets,
}


def main() -> int:
    """Measure; 0 whatever the figures say, for they are results and not tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default=",".join(_ROWS), help="names, joined by commas")
    parser.add_argument("--rounds", type=int, help="of interleaved runs; 5, with --quick 1")
    parser.add_argument("--quick", action="store_true", help="short windows, fewer repetitions")
    parser.add_argument("--no-peers", action="store_true", help="ours alone, to work on it")
    parser.add_argument("--out", default="gateway", help="name of the file in bench/results")
    arguments = parser.parse_args()
    effort = Effort(
        rounds=arguments.rounds or (1 if arguments.quick else 5),
        seconds=5 if arguments.quick else 15,
        is_quick=arguments.quick,
        has_peers=not arguments.no_peers,
    )
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # A run that is ended half-way ends the stacks and servers that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    client_program()
    table = Table.called(
        arguments.out, how={"rounds": effort.rounds, "seconds": effort.seconds, **vars(arguments)}
    )
    return _measure(arguments.rows.split(","), effort, table)


def _measure(names: list[str], effort: Effort, table: Table) -> int:
    for name in names:
        began = time.monotonic()
        try:
            part = _ROWS[name](effort)
        except Exception as error:  # noqa: BLE001 - the other rows are still worth measuring
            traceback.print_exc()
            part = Part([], notes=[f"{name} could not be measured: {error!r}"])
        table.add(name, part, took_s=time.monotonic() - began)
    print("written to", table.path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
