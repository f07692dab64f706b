"""P22: a process that cannot do its work says so, ends, and goes on by itself."""

from __future__ import annotations

from tests.promises.checker.evidence import Evidence
from tests.promises.checker.verdict import Verdict, judged

__all__ = ["check_stuck"]

_UNREADY_S = 15.0
_EXIT_S = 60.0
_SLACK_S = 2.0
"""Readiness is asked every half second, and a probe may wait a second."""
_MUST_EXIT = ("frozen poll thread", "broker swallows everything")


def check_stuck(evidence: Evidence) -> Verdict:
    """From each fault: not ready in time, ended in time, ready again without help."""
    readiness = evidence.journal("readiness")
    exits = [line for line in evidence.journal("processes") if line["event"] == "exit"]
    offenders, said = [], []
    faults = [line for line in evidence.journal("stuck") if line["what"] != "healed"]
    for fault in faults:
        label, since = fault["label"], fault["at"]
        mine = [line for line in readiness if line["label"] == label and line["at"] >= since]
        unready = next((line["at"] - since for line in mine if not line["ready"]), None)
        if unready is None or unready > _UNREADY_S + _SLACK_S:
            offenders.append(f"{label}, {fault['what']}: not ready after {unready} s")
        if fault["what"] in _MUST_EXIT:
            ended = next(
                (
                    one["at"] - since
                    for one in exits
                    if one["label"] == label and one["at"] >= since
                ),
                None,
            )
            if ended is None or ended > _EXIT_S + _SLACK_S:
                offenders.append(f"{label}, {fault['what']}: ended after {ended} s")
            said.append(f"{fault['what']}: unready {_s(unready)}, ended {_s(ended)}")
        else:
            said.append(f"{fault['what']}: {label} unready {_s(unready)}")
        if not mine or not mine[-1]["ready"]:
            offenders.append(f"{label}, {fault['what']}: is not ready again")
    return judged("P22", "stuck is noticed", "; ".join(said), offenders, of=len(faults))


def _s(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f} s"
