"""How switches change the product: loudly, if it is not there any more."""

from __future__ import annotations

import re
from importlib import resources
from types import ModuleType
from typing import Any

__all__ = ["PatchMissed", "patch", "patch_function", "without_line"]


_BROKEN: dict[str, str] = {}
"""Scripts of the product, and what several switches have left of them."""


class PatchMissed(Exception):
    """The product has moved away from under a switch: mend the switch."""


def patch(owner: type, name: str, new: Any) -> None:
    """Put another function in the place of a method.

    Raises:
        PatchMissed: there is no such method.
    """
    if not hasattr(owner, name):
        raise PatchMissed(f"{owner.__module__}.{owner.__name__} has no {name!r}")
    setattr(owner, name, new)


def patch_function(module: ModuleType, name: str, new: Any) -> None:
    """Put another function in the place of a module's.

    Raises:
        PatchMissed: there is no such function.
    """
    if not hasattr(module, name):
        raise PatchMissed(f"{module.__name__} has no {name!r}")
    setattr(module, name, new)


def without_line(script: str, *patterns: str) -> None:
    """Take lines out of a Lua script of the job table, whoever loads it from then on.

    Raises:
        PatchMissed: a pattern matches nothing.
    """
    original = resources.files("penstock_kit.jobs").joinpath(f"lua/{script}.lua").read_text()
    broken = _BROKEN.get(original, original)
    for pattern in patterns:
        if not re.search(pattern, original, flags=re.MULTILINE):
            raise PatchMissed(f"{script}.lua has no line like {pattern!r}")
        broken = re.sub(pattern, "", broken, flags=re.MULTILINE)
    if not _BROKEN:
        _load_broken()
    _BROKEN[original] = broken


def _load_broken() -> None:
    from penstock_kit.redis_client import Script  # noqa: PLC0415 - only if switched on
    from penstock_kit.redis_line import ScriptLine  # noqa: PLC0415 - the same

    for runner in (Script, ScriptLine):
        patch(runner, "__init__", _loading(runner.__init__))


def _loading(make: Any) -> Any:
    def load(self: Any, redis: Any, source: str) -> None:
        make(self, redis, _BROKEN.get(source, source))

    return load
