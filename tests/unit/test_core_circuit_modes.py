"""Circuits in the shadow, off, edited, bounded by `max_open`, and while the world round them changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.breaker import CircuitEvent, CircuitState
from gateway.core.model import CircuitMode, RetryPolicy
from gateway.core.tickets import Send
from tests.unit.core_support import ONE_STRIKE, Shell, instance, name_of, no_jitter, on, policy, route, sick

CLOSED = CircuitState.CLOSED


@pytest.fixture
def shell() -> Shell:
    shell = Shell(draw=no_jitter)
    shell.view(instance("a"), instance("b"))
    shell.policies(policy(circuit=ONE_STRIKE))
    return shell


def test_shadow_runs_and_reports_and_permits(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, mode=CircuitMode.SHADOW)))
    shell.fail(on(shell, "a"))
    assert shell.states()["a"] == "open"
    assert shell.shares(route(), 20) == {"a": 10, "b": 10}
    shell.wait(10.0)
    assert shell.states()["a"] == "half_open"
    assert shell.shares(route(), 20) == {"a": 10, "b": 10}
    assert shell.states()["a"] == "closed"
    assert [change.mode for change in shell.changes] == [CircuitMode.SHADOW] * 3


def test_shadow_picks_as_if_there_were_no_circuit() -> None:
    """Slow start included: a circuit that would have closed does not make its instance cold."""
    seen = []
    for mode in (CircuitMode.SHADOW, CircuitMode.OFF):
        shell = Shell(draw=no_jitter)
        shell.view(instance("a"), instance("b", 2))
        shell.policies(policy(circuit=replace(ONE_STRIKE, mode=mode), slow_start=30.0))
        shell.wait(40.0)
        names = []
        for step in range(60):
            attempt = shell.send(route())
            names.append(name_of(attempt))
            if step % 7 == 0:
                shell.fail(attempt)
            else:
                shell.answer(attempt)
            shell.wait(1.0)
        seen.append(names)
    assert seen[0] == seen[1]


def test_off_counts_nothing(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, mode=CircuitMode.OFF)))
    for _ in range(50):
        shell.fail(shell.send(route()))
    assert shell.states() == {"a": "closed", "b": "closed"}
    assert not shell.changes


def test_enforcing_what_ran_in_the_shadow_takes_effect_at_once(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, mode=CircuitMode.SHADOW)))
    shell.fail(on(shell, "a"))
    shell.policies(policy(circuit=ONE_STRIKE))
    assert shell.shares(route(), 10) == {"b": 10}


def test_switching_off_permits_an_open_one_at_once(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.policies(policy(circuit=replace(ONE_STRIKE, mode=CircuitMode.OFF)))
    assert shell.shares(route(), 10) == {"a": 5, "b": 5}


def test_a_policy_edit_leaves_an_open_circuit_its_time(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    before = shell.circuit("a")
    shell.policies(policy(circuit=replace(ONE_STRIKE, open_for=1.0)))
    assert shell.circuit("a") == before
    shell.wait(10.0)
    assert shell.states()["a"] == "half_open"


def test_fewer_probes_asked_for_while_probing(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, half_open_probes=3)))
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    shell.head(on(shell, "a"))
    assert shell.states()["a"] == "half_open"
    shell.policies(policy(circuit=ONE_STRIKE))
    shell.head(on(shell, "a"))
    assert shell.states()["a"] == "closed"


# --- max_open ---


@pytest.mark.parametrize(
    ("share", "instances", "opened"),
    [(1.0, 3, 3), (0.5, 3, 1), (0.5, 4, 2), (0.34, 3, 1), (0.33, 3, 0), (0.99, 1, 0), (0.0, 5, 0), (0.29, 100, 29)],
)
def test_max_open_is_a_share_rounded_down(share: float, instances: int, opened: int) -> None:
    shell = Shell(draw=no_jitter)
    shell.view(*[instance(f"i{number}") for number in range(instances)])
    shell.policies(policy(circuit=replace(ONE_STRIKE, max_open=share)))
    for attempt in [shell.send(route()) for _ in range(instances)]:
        shell.fail(attempt)
    assert list(shell.states().values()).count("open") == opened
    assert shell.core.counters.openings_held == instances - opened


def test_half_open_counts_as_open_for_max_open(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, max_open=0.5)))
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    shell.fail(on(shell, "b"))
    assert shell.states() == {"a": "half_open", "b": "closed"}


def test_what_was_held_trips_at_its_next_failure_once_there_is_room(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, consecutive_failures=3, max_open=0.5)))
    flying = [shell.send(route()) for _ in range(6)]
    for attempt in sorted(flying, key=name_of):
        shell.fail(attempt)
    assert shell.states() == {"a": "open", "b": "closed"}
    assert shell.circuit("b").consecutive_failures == 3
    shell.wait(10.0)
    shell.answer(on(shell, "a"))
    shell.fail(on(shell, "b"))
    assert shell.states() == {"a": "closed", "b": "open"}


# --- circuits and the world ---


def test_two_routes_to_one_service_share_circuits(shell: Shell) -> None:
    one, two = route("one"), route("two")
    shell.trip(one, "a")
    assert shell.shares(two, 10) == {"b": 10}


def test_circuits_survive_others_and_edits(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    before = shell.circuit("a")
    shell.view(instance("a"), instance("c"))
    shell.routes(route(version=2), route("new"))
    shell.view(instance("a"))
    shell.routes()
    shell.view(instance("a", 7, tags=["new"]), instance("b"))
    shell.view(sick(instance("a")), instance("b"))
    shell.view(instance("a"), instance("b"))
    assert shell.circuit("a") == before


def test_a_moved_endpoint_is_a_new_circuit(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.view(instance("a", port=9), instance("b"))
    assert shell.circuit("a").state is CLOSED
    shell.wait(100.0)
    assert shell.circuit("a").state is CLOSED


@pytest.mark.parametrize("result", ["answer", "fail", "abandon", "late"])
def test_a_probe_whose_instance_was_deregistered_changes_nothing(shell: Shell, result: str) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    shell.view(instance("b"))
    if result == "answer":
        shell.answer(probe)
    elif result == "fail":
        shell.fail(probe)
    elif result == "abandon":
        shell.abandon(probe.ticket)
    else:
        shell.wait(20.0)
        shell.answer(probe)
    assert shell.states() == {"b": "closed"}
    assert [change.event for change in shell.changes] == [CircuitEvent.TRIP, CircuitEvent.MATURE]


def test_a_probe_that_is_tried_again_elsewhere_was_judged_by_its_status(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, failure_statuses=frozenset({500}))))
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probing = route(retry=RetryPolicy(on_statuses=frozenset({429})))
    probe = next(attempt for attempt in [shell.send(probing) for _ in range(2)] if name_of(attempt) == "a")
    again = shell.head(probe, 429)
    assert isinstance(again, Send)
    assert shell.states()["a"] == "closed"
    assert shell.circuit("a").in_flight == 0
    shell.wait(60.0)
    assert shell.states()["a"] == "closed"
