"""Every threat has a guard that a test proves, and every test that is named exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "threat-model.md"
NODE = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
PARTS = (
    "From clients", "Time and room", "From instances", "Consul", "Documents in KV", "Credentials", "Admin surface",
    "Telemetry", "Files: journal and snapshot", "The process",
)  # fmt: skip


def _rows() -> list[tuple[str, ...]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]
    return [row for row in cells if row[0] != "threat"]


@cache
def _tests_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    names = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    machines = (node.targets for node in tree.body if isinstance(node, ast.Assign))
    assigned = (target.id for targets in machines for target in targets if isinstance(target, ast.Name))
    return frozenset(name for name in (*names, *assigned) if name.lower().startswith("test"))


def test_every_part_of_the_gateway_has_its_table() -> None:
    assert tuple(re.findall(r"^## (.+)$", PAGE.read_text(), re.MULTILINE)) == PARTS
    assert len(_rows()) > 60


@pytest.mark.parametrize("row", _rows(), ids=lambda row: row[0][:60])
def test_a_threat_has_a_guard_and_tests_that_exist(row: tuple[str, ...]) -> None:
    threat, guard, proofs = row
    assert threat
    assert guard
    named = NODE.findall(proofs)
    assert named, "no test"
    assert NODE.sub("", proofs).strip(", ") == "", "something else than a test"
    for file, name in named:
        assert (ROOT / file).is_file(), file
        found = _tests_in(file)
        assert found if not name else name in found, f"{file} has no {name or 'tests'}"
