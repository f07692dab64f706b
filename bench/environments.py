"""Environments of peers, and compiled programs: made once per state of their files.

All lie in the user's cache. Python peers are hash-pinned by their lock file, Node ones by
`package-lock.json`, Go ones by `go.sum`.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from penstock.dev.jars import cache_dir

__all__ = ["debian_programs", "go_program", "made_once", "node_environment", "python_environment"]

_UV = Path(sys.executable).with_name("uv")


def python_environment(lock: Path) -> Path:
    """The Python of an environment that holds exactly what the lock file names."""

    def make(folder: Path) -> None:
        _run([str(_UV), "venv", "-q", "--python", sys.executable, str(folder)])
        _run(
            [str(_UV), "pip", "install", "-q", "--compile-bytecode",
             "--python", str(folder / "bin" / "python"), "--require-hashes", "-r", str(lock)]
        )  # fmt: skip

    return made_once(lock.stem, [lock], make) / "bin" / "python"


def node_environment(source: Path) -> Path:
    """A folder with the `node_modules` of `source/package-lock.json`; no install script runs."""
    files = [source / "package.json", source / "package-lock.json"]

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        for file in files:
            shutil.copy(file, folder)
        _run(["npm", "ci", "--ignore-scripts", "--silent", "--prefix", str(folder)])

    return made_once(source.name, files, make)


def go_program(source: Path) -> Path:
    """The program of a Go module."""

    def make(folder: Path) -> None:
        _run(["go", "build", "-C", str(source), "-o", str(folder / "program"), "."])

    files = sorted(file for file in source.iterdir() if file.suffix in (".go", ".mod", ".sum"))
    return made_once(source.name, files, make) / "program"


def debian_programs(name: str, packages: Sequence[str]) -> Path:
    """The files of Debian packages, unpacked and not installed; what they need must be there."""

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        subprocess.run(["apt-get", "download", "-q", *packages], check=True, cwd=folder)
        for package in folder.glob("*.deb"):
            _run(["dpkg", "-x", str(package), str(folder)])

    return made_once(name, [], make)


def made_once(name: str, files: Sequence[Path], make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, made again when one of the files has changed."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    folder = cache_dir() / "bench" / f"{name}-{digest}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        make(folder)
        (folder / "complete").touch()
    return folder


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)
