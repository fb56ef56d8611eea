"""What the reference of predicates shows is tried."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from multidict import CIMultiDict

from gateway.core.candidate import INSTANCE, Candidate
from gateway.core.facts import RequestFacts
from gateway.core.model import Instance, InstanceKey
from gateway.core.predicate import Environment, bounds, compile_program
from gateway.core.predicate.library import FUNCTIONS
from gateway.core.predicate.types import Record
from gateway.core.require import IDENTITY, ROUTE
from gateway.core.when import REQUEST
from gateway.discovery.documents import check_route
from gateway.discovery.predicates import TOOLS, compile_instances, compile_require, compile_when
from gateway.discovery.regex import MAX_PATTERN
from gateway.pipeline.stage import Call, Identity
from tests.unit.pipeline_support import ROUTE as ASKED
from tests.unit.predicate_support import plain

PAGE = (Path(__file__).parents[2] / "docs" / "predicates.md").read_text(encoding="utf-8")
NOTHING: Environment[None] = {}
HEADERS = CIMultiDict({"X-Tenant": "acme", "X-Tier": "gold", "Cookie": "session=s1"})
SAMPLE = RequestFacts(
    "GET", "example.com", "/orders/1", "page=2", HEADERS, "10.1.2.3", "http", 1_795_617_000_000_000_000
)
TOLD = re.search(r"a token of `(\w+)` with\n`(\{.*\})`", PAGE)
assert TOLD is not None
ASKING = Call(SAMPLE, ASKED, None, "", "", [], identity=Identity("jwt", TOLD[1]), claims=json.loads(TOLD[2]))

EXAMPLES = re.findall(r"```cel\n(.*?)```", PAGE, re.DOTALL)
OF_INSTANCES = [example for example in EXAMPLES if "instance." in example]
OF_REQUIRE = [example for example in EXAMPLES if re.search(r"\b(claims|identity|route)\.", example)]
VALUES = re.findall(r"^\| `([^|]+)` \| `([^|]+)` \|$", PAGE.partition("| expression | value |")[2], re.MULTILINE)


@pytest.mark.parametrize("example", OF_INSTANCES)
def test_examples_of_instances_hold(example: str) -> None:
    key, meta = InstanceKey("dc1", "node-1", "orders-1"), {"region": "eu", "tier": "gold"}
    candidate = Candidate(Instance(key, "orders", "10.0.0.7", 8080, tags=frozenset({"stable"}), meta=meta))
    candidate.asking = ASKING
    assert compile_instances(example).holds(candidate)


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each not in OF_INSTANCES])
def test_examples_hold_unless_they_say_otherwise(example: str) -> None:
    holds = compile_require(example).holds(ASKING)
    assert holds is not example.rstrip().endswith("// false")
    if example not in OF_REQUIRE:
        assert compile_when(example).holds(SAMPLE) is holds


@pytest.mark.parametrize(("expression", "expected"), VALUES)
def test_values(expression: str, expected: str) -> None:
    found = compile_program(expression, NOTHING, TOOLS).evaluate(None)
    assert plain(found) == plain(compile_program(expected, NOTHING, TOOLS).evaluate(None))


def test_the_page_is_read() -> None:
    assert len(EXAMPLES) - len(OF_REQUIRE) - len(OF_INSTANCES) >= 8
    assert len(OF_INSTANCES) >= 3
    assert len(OF_REQUIRE) >= 3
    assert len(VALUES) >= 10
    (route,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert check_route("orders", route.encode()) == []


def test_every_fact_and_function_is_told() -> None:
    assert isinstance(REQUEST, Record)
    for name, field in REQUEST.fields.items():
        assert f"| `request.{name}` | {field.type} |" in PAGE
    assert "| `claims` | map(string, dyn) |" in PAGE
    for record in (IDENTITY, ROUTE, INSTANCE):
        for name, field in record.fields.items():
            assert f"| `{record}.{name}` | {field.type} |" in PAGE
    for name in filter(str.isidentifier, FUNCTIONS):
        if name.strip("_").isalpha():
            assert re.search(rf"\b{name}\b", PAGE), name


def test_bounds_are_those_in_force() -> None:
    told = {int(number.replace(",", "")) for number in re.findall(r"^\| .* \| ([0-9,]+) \|$", PAGE, re.MULTILINE)}
    in_force = {value for name, value in vars(bounds).items() if name.startswith("MAX_")} | {MAX_PATTERN}
    assert told == in_force
