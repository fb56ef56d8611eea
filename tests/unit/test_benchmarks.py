"""Benchmarks use the gateway from inside: what moves in there must not leave them behind."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(path.stem for path in ROOT.glob("benchmarks/*.py")))
def test_each_can_be_imported(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


def test_the_core_can_be_copied_without_its_hook() -> None:
    """It was not, once a part of the core had become a package."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.tracing", "3"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("ratio ") == 5
