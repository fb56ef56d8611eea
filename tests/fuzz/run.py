"""Runs the targets of this folder under atheris, one after the other; fails where one found something.

    python -m tests.fuzz.run [--seconds 60] [TARGET …]

Each runs in a process of its own. What a failure needs to be seen again is printed as a literal, for `FOUND` of its
target; nothing is left behind.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TARGETS = ("request", "response", "documents", "predicates", "consul", "tokens", "forwarded")
_LONGEST = 2048
"""Bytes of an input."""
_SLOW = 10
"""Seconds for one input, above which it is a finding."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.inside:
        _fuzz(given.targets[0], Path(given.inside), given.seconds)
    found = [name for name in given.targets or TARGETS if not _passes(name, given.seconds)]
    if found:
        print(f"found something: {', '.join(found)}")
    return 1 if found else 0


def _passes(name: str, seconds: int) -> bool:
    print(f"== {name}, {seconds} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.fuzz.run", name, "--seconds", str(seconds), "--inside", folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        said = done.stdout.decode(errors="replace").splitlines()
        if done.returncode == 0:
            print("nothing found", flush=True)
            return True
        print("\n".join(said[-40:]))
        for artifact in Path(folder).glob("found-*"):
            print(f"{artifact.name}: {artifact.read_bytes()!r}", flush=True)
        return False


def _fuzz(name: str, folder: Path, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["gateway"]):
        target = importlib.import_module(f"tests.fuzz.{name}")
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate([*target.SEEDS, *target.FOUND]):
        (corpus / str(number)).write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-max_len={_LONGEST}", f"-timeout={_SLOW}", "-verbosity=0"]
    atheris.Setup([name, *options, f"-artifact_prefix={folder}/found-", str(corpus)], target.fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
