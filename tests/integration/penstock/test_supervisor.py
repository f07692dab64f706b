from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from penstock.dev.errors import NotReady
from penstock.dev.keeper import Unit
from penstock.dev.process import ProcessSpec
from penstock.dev.state import Phase, ProcessState, ProcessView, StackState
from penstock.dev.supervisor import Supervisor
from penstock_kit.clock import SystemClock

_WELL = "import time; print('up', flush=True); time.sleep(600)"
_STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('up', flush=True); time.sleep(600)"
)
_WITH_CHILD = (
    "import subprocess, sys; p = subprocess.Popen(['sleep', '600']);"
    "print(p.pid, flush=True); p.wait()"
)


def _unit(folder: Path, code: str, *, name: str = "svc", number: int = 1) -> Unit:
    log = folder / f"{name}-{number}.log"
    return Unit(
        number=number,
        spec=ProcessSpec(
            name=name,
            argv=(sys.executable, "-u", "-c", code),
            log=log,
            is_ready=lambda: log.exists() and log.stat().st_size > 0,
            start_timeout_s=20,
        ),
    )


def _supervisor(folder: Path) -> Supervisor:
    state = folder / "state.json"
    return Supervisor(run=folder, state=state, pid=os.getpid(), clock=SystemClock())


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    supervisor = _supervisor(tmp_path)
    yield supervisor
    await supervisor.stop(services_s=0.5, servers_s=0.5)


def _views(folder: Path) -> list[ProcessView]:
    return StackState.model_validate_json((folder / "state.json").read_bytes()).processes


async def _until(fact: Callable[[], bool], *, within_s: float = 10.0) -> float:
    """Wait for the fact; the seconds that it took."""
    began = time.monotonic()
    while not fact():
        assert time.monotonic() - began < within_s, "it did not happen in time"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def _pids(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in folder.glob("*.pid")]


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_start_when_probe_answers_writes_pid_file_and_state(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.enter(Phase.READY)

    await supervisor.start([_unit(tmp_path, _WELL)])

    (view,) = _views(tmp_path)
    assert view.state is ProcessState.READY
    assert (tmp_path / "svc-1.pid").read_text() == f"{view.pid}\n"


async def test_kill_of_a_process_when_it_was_ready_restarts_it_within_two_seconds(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    await supervisor.start([_unit(tmp_path, _WELL)])
    (before,) = _views(tmp_path)
    assert before.pid is not None

    os.kill(before.pid, signal.SIGKILL)
    took_s = await _until(
        lambda: _views(tmp_path)[0].restarts == 1 and _views(tmp_path)[0].pid != before.pid
    )

    assert took_s < 2
    (after,) = _views(tmp_path)
    assert after.why == "killed by SIGKILL"


async def test_stop_when_a_process_ignores_sigterm_kills_it_in_time(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    await supervisor.start([_unit(tmp_path, _STUBBORN), _unit(tmp_path, _WELL, number=2)])
    pids = [view.pid for view in _views(tmp_path)]

    began = time.monotonic()
    await supervisor.stop(services_s=1.0, servers_s=1.0)

    assert time.monotonic() - began < 2
    assert all(pid is not None and _is_gone(pid) for pid in pids)
    assert {view.state for view in _views(tmp_path)} == {ProcessState.STOPPED}
    assert _pids(tmp_path) == []


async def test_stop_when_a_process_has_children_leaves_none(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    unit = _unit(tmp_path, _WITH_CHILD)
    await supervisor.start([unit])
    child = int(unit.spec.log.read_text())

    await supervisor.stop(services_s=0.2, servers_s=0.2)

    await _until(lambda: _is_gone(child))


async def test_start_when_a_process_dies_again_and_again_says_why(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    unit = _unit(tmp_path, "raise SystemExit('no such model')")
    silent = ProcessSpec(name="svc", argv=unit.spec.argv, log=unit.spec.log, is_ready=lambda: False)

    with pytest.raises(NotReady, match=r"svc-1 ended with status 1 .*3 times(.|\n)*no such model"):
        await supervisor.start([Unit(number=1, spec=silent)])


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise exists on Linux only")
def test_sigkill_of_the_supervisor_takes_its_processes_along(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import asyncio, os, sys
        from pathlib import Path
        from penstock.dev.keeper import Unit
        from penstock.dev.process import ProcessSpec
        from penstock.dev.supervisor import Supervisor
        from penstock_kit.clock import SystemClock

        async def main(folder):
            supervisor = Supervisor(
                run=folder, state=folder / "state.json", pid=os.getpid(), clock=SystemClock()
            )
            spec = ProcessSpec(
                name="svc", argv=("sleep", "600"), log=folder / "svc.log", is_ready=lambda: True
            )
            await supervisor.start([Unit(number=n, spec=spec) for n in (1, 2)])
            print("ready", flush=True)
            await asyncio.sleep(600)

        asyncio.run(main(Path(sys.argv[1])))
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        pids = _pids(tmp_path)

        process.kill()

        assert len(pids) == 2
        asyncio.run(_until(lambda: all(_is_gone(pid) for pid in pids), within_s=2))
