"""The circuit's table in the code and the state graph of the specification are the same machine."""

import pytest

from gateway.core.breaker import TRANSITIONS, CircuitEvent, CircuitState
from specs.diagrams import circuit_steps
from specs.graphs import Step

EVENTS = {
    "Trip": CircuitEvent.TRIP,
    "Mature": CircuitEvent.MATURE,
    "ProbesPassed": CircuitEvent.PROBES_PASSED,
    "ProbeFailed": CircuitEvent.PROBE_FAILED,
    "LateProbe": CircuitEvent.PROBE_FAILED,
}
"""The actions of the specification that make a transition. All others must leave the circuit in its state."""


@pytest.fixture(scope="module")
def steps() -> frozenset[Step]:
    """Every step of the specification with one instance, of which only its circuit's state is kept."""
    return circuit_steps()


def test_transitions_of_the_graph_are_the_table(steps: frozenset[Step]) -> None:
    graph = {
        (CircuitState(step.before), EVENTS[step.action], CircuitState(step.after))
        for step in steps
        if step.action in EVENTS
    }
    table = {(before, event, after) for before, row in TRANSITIONS.items() for event, after in row.items()}
    assert graph == table


def test_every_transition_is_taken(steps: frozenset[Step]) -> None:
    assert EVENTS.keys() <= {step.action for step in steps}
    assert set(EVENTS.values()) == set(CircuitEvent)


def test_other_actions_change_no_state(steps: frozenset[Step]) -> None:
    others = {step for step in steps if step.action not in EVENTS}
    assert others
    assert {step for step in others if step.before != step.after} == set()
