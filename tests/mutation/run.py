"""Changes the core a little, many times, by mutmut, and says which changes no test notices.

Prints a table per module. Fails where a module is below its floor, or where a change survives that `survivors.toml`
does not give a reason for. Names of modules as arguments choose some. What a run leaves behind is in `mutants/`, which
`mutmut show NAME` reads.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SURVIVORS = Path(__file__).with_name("survivors.toml")

FLOORS = {"breaker": 90.0, "balancer": 90.0, "admission": 90.0, "registry": 0.0, "retry": 0.0, "routing": 0.0}
"""Percent of its mutants that have to be noticed, by module; 0: only printed."""

_NAME = re.compile(r"gateway\.core\.(?P<module>\w+)\.x(?:ǁ(?P<owner>\w+)ǁ|_)(?P<function>\w+)__mutmut_\d+")
_STATUS = re.compile(r"^\s+(\S+__mutmut_\d+): (.+)$", re.MULTILINE)


class Change(NamedTuple):
    """One mutant, told so that it is found again: mutmut's own numbers move with every edit."""

    module: str
    function: str
    change: str

    def __str__(self) -> str:
        return f"{self.module}.{self.function}: {self.change}"


class Score(NamedTuple):
    module: str
    mutants: int
    killed: int
    timeout: int
    survived: Sequence[Change]
    seconds: float

    @property
    def percent(self) -> float:
        """A mutant that makes a test hang was noticed."""
        return 100.0 * (self.killed + self.timeout) / self.mutants

    @property
    def enough(self) -> bool:
        return self.percent >= FLOORS.get(self.module, 0.0)

    def __str__(self) -> str:
        figures = f"{self.mutants:7} {self.killed:7} {self.timeout:7} {len(self.survived):8}"
        return f"{self.module:12} {figures} {self.percent:6.1f} % {self.seconds:6.0f} s"


def mutmut(*arguments: str) -> str:
    """What the command printed; its complaint goes to ours, and ends the run."""
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    # Which test is tried first depends on hashes; the same ones make each run take the same time.
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        # Its progress is one long line of carriage returns; what went wrong is at the end.
        said = done.stdout.replace("\r", "\n")[-3000:]
        sys.exit(f"{said}\n{done.stderr}\nmutmut {arguments[0]} ended with {done.returncode}")
    return done.stdout


def described(name: str, diff: str) -> Change:
    """Of the mutant of that name, from the difference that mutmut shows."""
    parts = _NAME.fullmatch(name)
    assert parts, name
    owner = f"{parts['owner']}." if parts["owner"] else ""
    return Change(parts["module"], owner + parts["function"], f"{_lines(diff, '-')} → {_lines(diff, '+')}")


def _lines(diff: str, sign: str) -> str:
    body = (line for line in diff.splitlines() if line.startswith(sign) and not line.startswith(sign * 3))
    return " ".join(line[1:].strip() for line in body)


def tried(module: str) -> Score:
    """Tries every mutant of a module against the tests that reach its function."""
    began = time.monotonic()
    mutmut("run", "--max-children", "1", f"gateway.core.{module}.*")
    found = _STATUS.findall(mutmut("results", "--all", "true"))
    statuses = {name: status for name, status in found if name.startswith(f"gateway.core.{module}.")}
    counts = Counter(statuses.values())
    unnoticed = [name for name, status in statuses.items() if status not in ("killed", "timeout")]
    survived = [described(name, mutmut("show", name)) for name in unnoticed]
    return Score(module, len(statuses), counts["killed"], counts["timeout"], survived, time.monotonic() - began)


def listed(file: Path = SURVIVORS) -> Iterator[Change]:
    """The survivors that have a reason."""
    for entry in tomllib.loads(file.read_text())["survivors"]:
        assert entry["reason"], entry
        for change in entry["changes"]:
            yield Change(entry["module"], entry["function"], change)


def compared(scores: Iterable[Score], known: Iterable[Change]) -> tuple[Counter[Change], Counter[Change]]:
    """Survivors without a reason, and reasons without a survivor. One change may be made in two places."""
    scores = list(scores)
    modules = {score.module for score in scores}
    survived = Counter(change for score in scores for change in score.survived)
    reasons = Counter(change for change in known if change.module in modules)
    return survived - reasons, reasons - survived


def main(names: Sequence[str]) -> int:
    modules = names or list(FLOORS)
    missing = [name for name in modules if not (ROOT / "src/gateway/core" / f"{name}.py").is_file()]
    if missing:
        print(f"no such module of the core: {', '.join(missing)}", file=sys.stderr)
        return 2
    known = list(listed())
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    print(
        f"{'module':12} {'mutants':>7} {'killed':>7} {'timeout':>7} {'survived':>8} {'score':>8} {'time':>8}",
        flush=True,
    )
    scores = []
    for module in modules:
        scores.append(tried(module))
        print(scores[-1], flush=True)
    unexplained, outdated = compared(scores, known)
    for change in unexplained.elements():
        print(f"survived without a reason: {change}")
    for change in outdated.elements():
        print(f"has a reason, and was killed: {change}")
    low = [score for score in scores if not score.enough]
    for score in low:
        print(f"{score.module} is below {FLOORS[score.module]:.0f} %")
    return 1 if low or unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
