"""Two stacks that start at the same moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from penstock.dev.ports import PortPicker


def test_pick_when_another_picker_has_the_wished_port_but_binds_later_then_another_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wished = PortPicker().pick()
    first, second = PortPicker(), PortPicker()

    assert first.pick(wished) == wished
    assert second.pick(wished) != wished
    first.release()


def test_pick_when_the_other_picker_let_go_then_the_wished_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    wished = PortPicker().pick()
    first = PortPicker()
    first.pick(wished)

    first.release()

    second = PortPicker()
    assert second.pick(wished) == wished
    second.release()
