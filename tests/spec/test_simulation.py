"""The whole core under a virtual clock, in a world that does as it likes; each run follows from its seed."""

from __future__ import annotations

import pytest

from gateway.core.events import Event
from tests.spec.simulation import Simulation, events, line

SEEDS = range(40, 47)
STEPS = 10_000


def ignored(event: Event) -> None:
    """Nobody listens."""


def test_a_seed_says_all() -> None:
    first, second = ([line(0, event) for event in events(7, 3000)] for _ in range(2))
    assert first == second
    assert first != [line(0, event) for event in events(8, 3000)]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_when_all_is_well_again_everything_recovers(seed: int, shared: bool) -> None:
    simulation = Simulation(seed, ignored, shared=shared)
    simulation.run(STEPS)
    simulation.calm()
    for _ in range(40):
        simulation.run(200)
        if simulation.circuits_closed():
            break
    assert simulation.circuits_closed(), "a circuit did not close"
    simulation.run(500)
    before = simulation.tally.outcomes.copy()
    simulation.run(2000)
    late = simulation.tally.outcomes - before
    assert late["responded"] > 200
    assert not late["no_healthy_instance"]
    counters = simulation.core.counters
    assert counters.tickets == sum(counters.outcomes.values()) + len(simulation.live)
    assert all(ticket.state.value != "ended" for ticket in simulation.live.values())


def test_the_runs_reach_what_they_are_for() -> None:
    told: list[Event] = []
    simulations = [Simulation(seed, told.append) for seed in SEEDS]
    for simulation in simulations:
        simulation.run(STEPS)
    assert len(told) >= 50_000

    def least(name: str) -> int:
        return sum(
            simulation.tally.outcomes[name] + simulation.tally.circuit[name] + simulation.tally.actions[name]
            for simulation in simulations
        )

    for outcome in ("responded", "broken", "abandoned", "queue_full", "queue_timeout", "circuit_open"):
        assert least(outcome) > 50, outcome
    for outcome in ("no_healthy_instance", "upstream_reset", "upstream_timeout", "upstream_unreachable"):
        assert least(outcome) > 50, outcome
    for event in ("trip", "probes_passed", "probe_failed", "held"):
        assert least(event) > 20, event
    for action in ("Retry", "Dequeue", "TriggerCircuitBreaker", "LateProbe", "ForgetService", "Refuse"):
        assert least(action) > 20, action
    for action in ("Requeue", "Deliver"):
        assert least(action) > 5, action
    assert sum(simulation.tally.retried_elsewhere for simulation in simulations) > 100
    assert sum(simulation.tally.abandoned_in_queue for simulation in simulations) > 50
