"""Apache Kafka from Maven, once per user: all clones of this repository share the jars."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.dev.errors import DownloadFailed, MissingProgram

__all__ = ["KAFKA_VERSION", "cache_dir", "cached_jars", "fetch_jars"]

KAFKA_VERSION = "4.3.1"
_LOG4J_SLF4J_VERSION = "2.25.4"
"""Bridges the logging interface that Kafka calls to the Log4j that it ships with; same version."""
_MARKER = "complete"
"""Name and size of every jar; written last. A folder that lacks it or differs is fetched again."""

_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>penstock</groupId>
  <artifactId>embedded-kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{_LOG4J_SLF4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""
_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def cache_dir() -> Path:
    """Where downloads of Penstock lie: `$XDG_CACHE_HOME/penstock`, else `~/.cache/penstock`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "penstock"


def cached_jars(cache: Path) -> Path | None:
    """The folder of the jars if it is complete, else None."""
    folder = cache / f"kafka-{KAFKA_VERSION}"
    try:
        expected = (folder / _MARKER).read_text()
    except OSError:
        return None
    return folder if expected == _listing(folder) else None


def fetch_jars(cache: Path, *, on_line: Callable[[str], None] | None = None) -> Path:
    """The folder of the jars, fetched with Maven if need be; processes wait for each other.

    `on_line` gets Maven's output, one line at a time, for a progress display.

    Raises:
        MissingProgram: there is no Maven.
        DownloadFailed: Maven ended with an error.
    """
    found = cached_jars(cache)
    if found is not None:
        return found
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingProgram(
            f"Kafka {KAFKA_VERSION} is not in {cache} and there is no Maven to fetch it",
            hint="install Maven (Debian: apt-get install maven; macOS: brew install maven)",
        )
    with _lock(cache / "fetch.lock"):
        return cached_jars(cache) or _fetch(cache, maven, on_line or (lambda _: None))


def _fetch(cache: Path, maven: str, on_line: Callable[[str], None]) -> Path:
    target = cache / f"kafka-{KAFKA_VERSION}"
    with tempfile.TemporaryDirectory(dir=cache, prefix="kafka-fetch-") as work:
        jars = Path(work) / "jars"
        (Path(work) / "pom.xml").write_text(_POM)
        _run_maven(
            [maven, "-B", "-f", f"{work}/pom.xml", _GOAL, f"-DoutputDirectory={jars}"], on_line
        )
        (jars / _MARKER).write_text(_listing(jars))
        shutil.rmtree(target, ignore_errors=True)
        jars.rename(target)
    return target


def _run_maven(command: list[str], on_line: Callable[[str], None]) -> None:
    tail: list[str] = []
    with subprocess.Popen(  # noqa: S603 - the command is ours
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as maven:
        assert maven.stdout is not None
        for line in maven.stdout:
            on_line(line.rstrip())
            tail = [*tail[-14:], line.rstrip()]
    if maven.returncode != 0:
        raise DownloadFailed(
            f"Maven could not fetch Kafka {KAFKA_VERSION}:\n" + "\n".join(tail) + "\n",
            hint="check network, proxy and mirror settings of Maven (~/.m2/settings.xml)",
        )


def _listing(folder: Path) -> str:
    return "".join(f"{jar.name} {jar.stat().st_size}\n" for jar in sorted(folder.glob("*.jar")))


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
