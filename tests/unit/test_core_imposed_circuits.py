"""Circuits of which other workers say what they are."""

from __future__ import annotations

import pytest

from gateway.core.breaker import CircuitState, Imposition
from gateway.core.model import CircuitPolicy, Reason, RetryPolicy, Route
from gateway.core.tickets import Reject
from tests.unit.core_support import ONE_STRIKE, Shell, instance, no_jitter, policy, route

OPEN, HALF_OPEN, CLOSED = CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED
A = instance("a")


@pytest.fixture
def shell() -> Shell:
    shell = Shell(draw=no_jitter)
    shell.policies(policy(circuit=ONE_STRIKE))
    shell.view(A)
    return shell


@pytest.fixture
def orders(shell: Shell) -> Route:
    made = route(retry=RetryPolicy(attempts=1))
    shell.routes(made)
    return made


def impose(shell: Shell, state: CircuitState, openings: int = 1, passed: int = 0, until: float = 0.0) -> None:
    shell.core.impose_circuit("orders", A.key, Imposition(state, openings, passed, until), shell.now)
    shell._take()


def test_what_is_open_elsewhere_is_refused_here_until_it_is_closed_there(shell: Shell, orders: Route) -> None:
    impose(shell, OPEN, until=shell.now + 7.0)
    refused = shell.request(orders)
    assert isinstance(refused, Reject)
    assert (refused.reason, refused.retry_after) == (Reason.CIRCUIT_OPEN, 7.0)
    shell.wait(1000.0)
    assert shell.states() == {"a": "open"}, "its open time is not ours"
    impose(shell, CLOSED)
    shell.answer(shell.send(orders))


def test_nothing_of_it_is_told_as_a_transition(shell: Shell, orders: Route) -> None:
    for state in (OPEN, HALF_OPEN, OPEN, CLOSED):
        impose(shell, state)
    assert shell.changes == []


def test_one_that_is_handed_on_is_probed_and_its_repeats_go_on(shell: Shell, orders: Route) -> None:
    impose(shell, OPEN, openings=2)
    impose(shell, HALF_OPEN, openings=2)
    probe = shell.send(orders)
    assert probe.permit.probe
    assert isinstance(shell.request(orders), Reject), "one probe at a time"
    shell.fail(probe)
    circuit = shell.circuit("a")
    assert (circuit.openings, circuit.open_until) == (3, shell.now + 40.0)
    assert not circuit.elsewhere


def test_probes_that_passed_elsewhere_count(shell: Shell, orders: Route) -> None:
    shell.policies(policy(circuit=CircuitPolicy(half_open_probes=3)))
    impose(shell, OPEN)
    impose(shell, HALF_OPEN, passed=2)
    shell.answer(shell.send(orders))
    assert shell.states() == {"a": "closed"}


@pytest.mark.parametrize("state", [HALF_OPEN, CLOSED])
def test_what_is_our_own_is_not_closed_or_handed_on_by_others(shell: Shell, orders: Route, state: CircuitState) -> None:
    shell.trip(orders, "a")
    impose(shell, state)
    assert shell.states() == {"a": "open"}
    shell.wait(10.0)
    impose(shell, state)
    assert shell.states() == {"a": "half_open"}


def test_of_two_that_open_it_at_once_one_lets_go(shell: Shell, orders: Route) -> None:
    shell.trip(orders, "a")
    impose(shell, OPEN)
    shell.wait(100.0)
    assert shell.circuit("a").elsewhere
    assert shell.states() == {"a": "open"}


def test_what_was_sent_before_says_nothing_any_more(shell: Shell, orders: Route) -> None:
    before = shell.send(orders)
    impose(shell, OPEN)
    impose(shell, CLOSED)
    shell.fail(before)
    assert shell.states() == {"a": "closed"}


def test_who_waits_is_told(shell: Shell) -> None:
    shell.policies(policy(circuit=ONE_STRIKE, cap=1))
    orders = route()
    shell.routes(orders)
    shell.send(orders)
    waiting = shell.queued(orders)
    impose(shell, OPEN)
    assert shell.woken_reason(waiting) is Reason.CIRCUIT_OPEN


def test_an_instance_that_is_gone_is_no_error(shell: Shell) -> None:
    shell.view()
    impose(shell, OPEN)
    shell.core.impose_circuit("unheard-of", A.key, Imposition(OPEN), shell.now)
    shell.view(A)
    assert shell.states() == {"a": "closed"}


def test_what_is_open_elsewhere_uses_max_open_up(shell: Shell) -> None:
    b = instance("b")
    shell.view(A, b)
    shell.policies(policy(circuit=CircuitPolicy(consecutive_failures=1, failure_ratio=0.0, max_open=0.5)))
    orders = route(retry=RetryPolicy(attempts=1))
    shell.routes(orders)
    impose(shell, OPEN)
    shell.fail(shell.send(orders))
    assert shell.states() == {"a": "open", "b": "closed"}
    assert shell.core.counters.openings_held == 1
