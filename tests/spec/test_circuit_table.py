"""The circuit's table in the code and the state graph of the specification are the same machine."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.core.breaker import TRANSITIONS, CircuitEvent, CircuitState
from specs import tlc

EVENTS = {
    "Trip": CircuitEvent.TRIP,
    "Mature": CircuitEvent.MATURE,
    "ProbesPassed": CircuitEvent.PROBES_PASSED,
    "ProbeFailed": CircuitEvent.PROBE_FAILED,
    "LateProbe": CircuitEvent.PROBE_FAILED,
}
"""The actions of the specification that make a transition. All others must leave the circuit in its state."""

_NODE = re.compile(r'^(-?\d+) \[label=".*circuit_states = \(i1 :> \\"(\w+)\\"\)', re.MULTILINE)
_EDGE = re.compile(r'^(-?\d+) -> (-?\d+) \[label="(\w+)"', re.MULTILINE)


class Step(NamedTuple):
    before: CircuitState
    action: str
    after: CircuitState


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> set[Step]:
    """Every step of the specification with one instance, of which only its circuit's state is kept."""
    graph: Path = tmp_path_factory.mktemp("tlc") / "graph"
    dump = ["-dump", "dot,actionlabels", str(graph)]
    found = tlc.search(tlc.SPECS / "CircuitBreaker.tla", "CircuitBreaker.table.cfg", dump)
    assert found.code == 0, found.errors
    assert found.size is not None
    text = graph.with_suffix(".dot").read_text()
    states = {node: CircuitState(state) for node, state in _NODE.findall(text)}
    assert len(states) == found.size.distinct
    return {Step(states[before], action, states[after]) for before, after, action in _EDGE.findall(text)}


def test_transitions_of_the_graph_are_the_table(steps: set[Step]) -> None:
    graph = {(step.before, EVENTS[step.action], step.after) for step in steps if step.action in EVENTS}
    table = {(before, event, after) for before, row in TRANSITIONS.items() for event, after in row.items()}
    assert graph == table


def test_every_transition_is_taken(steps: set[Step]) -> None:
    assert EVENTS.keys() <= {step.action for step in steps}
    assert set(EVENTS.values()) == set(CircuitEvent)


def test_other_actions_change_no_state(steps: set[Step]) -> None:
    others = {step for step in steps if step.action not in EVENTS}
    assert others
    assert {step for step in others if step.before is not step.after} == set()
