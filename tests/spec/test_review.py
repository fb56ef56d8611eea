"""`specs/REVIEW.md` tells of everything that the specification has, by names that exist, with the pictures of today."""

from __future__ import annotations

import pkgutil
import re

import pytest

from gateway.core.events import Action
from gateway.journal.properties import Property
from specs import tlc
from specs.claims import Model, manifest
from specs.diagrams import PICTURES, REVIEW, drawn

TEXT = REVIEW.read_text()
QUOTED = set(re.findall(r"`([^`\n]+)`", TEXT))
MODULES = ("Gateway", "GatewayImpl", "GatewayProperties", "CircuitBreaker", "Balancer", "Admission", "RegistryMirror")
_TABLE = re.search(r"\| in the specification \| in an event \| in the code \|\n\|[-|]+\n((?:\|.*\n)+)", TEXT)
ROWS = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in _TABLE[1].splitlines()] if _TABLE else []


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def module(name: str) -> str:
    return (tlc.SPECS / f"{name}.tla").read_text()


def variables(name: str) -> set[str]:
    found = re.search(r"^VARIABLES?\s(.*?)\n\n", module(name), re.DOTALL | re.MULTILINE)
    return set(re.findall(r"\b([a-z_]+)\b", re.sub(r"\\\*.*", "", found[1]))) if found else set()


def steps(name: str) -> set[str]:
    """The actions that `Next` names."""
    found = re.search(r"^Next ==\n(.*?)\n\n", module(name), re.DOTALL | re.MULTILINE)
    return set(re.findall(r"\b([A-Z][A-Za-z]+)\b", re.sub(r"\\in \w+", "", found[1]))) if found else set()


def properties() -> set[str]:
    stated = [one for one in manifest(tlc.SPECS / "manifest.json") if isinstance(one, Model)]
    return {name for one in stated for name in one.properties} - {"TypeOK"}


@pytest.mark.parametrize("name", MODULES)
def test_every_variable_and_action_is_told(name: str) -> None:
    assert (variables(name) | steps(name)) - QUOTED == set()


def test_every_property_is_told() -> None:
    assert properties() - QUOTED == set()
    assert {each.value for each in Property} - QUOTED == set()


def test_every_event_has_its_row() -> None:
    told = {name for row in ROWS for name in names(row[1])}
    assert {action.value for action in Action} - told == set()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_names_of_the_code_exist(row: list[str]) -> None:
    for name in names(row[2]):
        pkgutil.resolve_name(name)


def test_names_of_the_specification_exist() -> None:
    text = "".join(map(module, MODULES))
    for row in ROWS:
        for name in names(row[0]):
            assert re.search(rf"\b{re.escape(name.partition('[')[0])}\b", text), name


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_what_the_graphs_say(name: str) -> None:
    assert drawn(TEXT, name) == PICTURES[name](), "run python -m specs.diagrams"
