"""Checks with TLC what `manifest.json` claims: models that hold, mutants that are refuted, states that are reached.

Names as arguments choose some; `--deep` runs the larger models instead, and says how far each got in `--minutes`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from specs import tlc
from specs.claims import Claim, Model, Mutant, listed, manifest, never_refuted, never_taken_anywhere

CORES = 2


def checked(one: Claim, seconds: float | None) -> bool:
    began = time.monotonic()
    try:
        found, good = one.check(seconds) if isinstance(one, Model) else one.check()
    except (subprocess.TimeoutExpired, ValueError) as trouble:
        found, good = str(trouble), False
    print(f"{'ok  ' if good else 'FAIL'} {one.name}: {found} ({time.monotonic() - began:.0f} s)", flush=True)
    return good


def is_deep(one: Claim) -> bool:
    return isinstance(one, Model) and one.deep


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of models, mutants and what is reached; none: all")
    parser.add_argument("--deep", action="store_true", help="the larger models instead")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long each of the larger ones may take")
    parser.add_argument("--manifest", type=Path, default=tlc.SPECS / "manifest.json")
    return parser.parse_args(given)


def told(what: str, missed: Mapping[str, frozenset[str]]) -> bool:
    """Whether there are any; by module."""
    if missed:
        listing = "; ".join(f"{module}: {listed(names)}" for module, names in missed.items())
        print(f"{what}: {listing}", file=sys.stderr)
    return bool(missed)


def main(given: Sequence[str]) -> int:
    asked = arguments(given)
    stated = manifest(asked.manifest)
    idle = told("actions that no model takes", never_taken_anywhere(stated))
    # while a property is being written, its model can be asked for by name
    unproven = not asked.names and told("properties that no mutant violates", never_refuted(stated))
    if idle or unproven:
        return 1
    claims = [one for one in stated if is_deep(one) == asked.deep]
    chosen = [one for one in claims if not asked.names or one.name in asked.names]
    unknown = set(asked.names) - {one.name for one in chosen}
    if unknown:
        print(f"not in the manifest: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    try:
        tlc.command()
    except tlc.TlcMissing as missing:
        print(f"model-check: {missing}", file=sys.stderr)
        return 2
    began = time.monotonic()
    chosen.sort(key=lambda one: -one.seconds)
    seconds = asked.minutes * 60 if asked.deep else None
    with ThreadPoolExecutor(CORES) as threads:
        results = list(threads.map(lambda one: checked(one, seconds), chosen))
    models = sum(isinstance(one, Model) for one in chosen)
    mutants = sum(isinstance(one, Mutant) for one in chosen)
    failed = results.count(False)
    verdict = f"{failed} not as stated" if failed else "all as stated"
    taken = time.monotonic() - began
    print(f"{models} models, {mutants} mutants, {len(chosen) - models - mutants} reached in {taken:.0f} s: {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
