"""A worker's journal that tells what other workers make of a circuit: taken as it is, and refused where it lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.core.breaker import CircuitState, Imposition
from gateway.core.events import Action, Event
from gateway.core.model import RetryPolicy
from gateway.journal.monitor import Monitor
from gateway.journal.properties import Property, Violation
from specs.traces import validate
from tests.spec.journals import lines_of
from tests.unit.core_support import ONE_STRIKE, Shell, instance, no_jitter, policy, route

A = instance("a")
Journal = list[dict[str, Any]]


def run() -> list[Event]:
    """Its circuit is opened elsewhere, and refuses a request; it is handed on, probed, and closed here; then it opens
    here, and others may not close it."""
    told: list[Event] = []
    shell = Shell(draw=no_jitter, trace=told.append)
    orders = route(retry=RetryPolicy(attempts=1))
    shell.policies(policy(circuit=ONE_STRIKE))
    shell.routes(orders)
    shell.view(A)

    def impose(state: CircuitState) -> None:
        shell.core.impose_circuit("orders", A.key, Imposition(state, 1, 0, shell.now + 1.0), shell.now)

    impose(CircuitState.OPEN)
    shell.refused(orders)
    impose(CircuitState.HALF_OPEN)
    shell.answer(shell.send(orders))
    shell.fail(shell.send(orders))
    impose(CircuitState.CLOSED)
    shell.core.impose_circuit("orders", instance("unknown").key, Imposition(CircuitState.OPEN), shell.now)
    shell.wait(25.0)
    return told


def place(journal: Journal, action: str, number: int = 0) -> int:
    return [at for at, line in enumerate(journal) if line["action"] == action][number]


def picked_while_open_elsewhere(journal: Journal) -> int:
    at, sent = place(journal, "RouteRequest"), place(journal, "RouteRequest", 1)
    journal[at]["decision"] = {**journal[sent]["decision"], "ticket": 1, "probe": False}
    return at


def never_handed_on(journal: Journal) -> int:
    del journal[place(journal, "ImposeCircuit", 1)]
    return place(journal, "RouteRequest", 1)


def matured_by_itself(journal: Journal) -> int:
    at = place(journal, "ImposeCircuit", 1)
    journal[at : at + 1] = [
        {"action": "Tick", "inputs": {}, "decision": {}},
        journal[place(journal, "TriggerCircuitBreaker")],
    ]
    return at + 1


def closed_though_it_is_our_own(journal: Journal) -> int:
    at = place(journal, "ImposeCircuit", 2)
    journal[at]["decision"] = {"taken": True}
    return at


def not_taken_though_it_was_another_s(journal: Journal) -> int:
    at = place(journal, "ImposeCircuit", 1)
    journal[at]["decision"] = {"taken": False}
    return at


LIES = [
    (picked_while_open_elsewhere, Property.CIRCUIT_BREAKER_SAFETY),
    (never_handed_on, Property.CIRCUIT_BREAKER_SAFETY),
    (matured_by_itself, Property.VALID_CIRCUIT_TRANSITIONS),
    (closed_though_it_is_our_own, Property.VALID_CIRCUIT_TRANSITIONS),
    (not_taken_though_it_was_another_s, Property.VALID_CIRCUIT_TRANSITIONS),
]


def test_it_is_a_behaviour_of_the_specification_as_it_is() -> None:
    lines = lines_of(run())
    found = validate(lines)
    assert found.accepted, f"{found}; refused: {lines[found.taken] if found.taken < len(lines) else None}"


@pytest.mark.parametrize("corrupt", [lie for lie, _ in LIES], ids=lambda lie: lie.__name__)
def test_what_lies_is_refused_where_it_does(corrupt: Callable[[Journal], int]) -> None:
    journal = [dict(line) for line in lines_of(run())]
    at = corrupt(journal)
    found = validate(journal)
    assert not found.accepted
    assert found.taken == at


@pytest.mark.parametrize(("corrupt", "broken"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_the_monitor_says_so_too(corrupt: Callable[[Journal], int], broken: Property) -> None:
    found: list[Violation] = []
    monitor = Monitor(found.append)
    journal: Journal = [dict(event._asdict()) for event in run()]
    corrupt(journal)
    for seq, line in enumerate(journal):
        monitor(seq, Event(0.0, Action(line["action"]), line["inputs"], (), line["decision"]))
    assert broken in {violation.property for violation in found}


def test_the_monitor_is_silent_where_nothing_lies() -> None:
    found: list[Violation] = []
    monitor = Monitor(found.append)
    for seq, event in enumerate(run()):
        monitor(seq, event)
    assert found == []
