"""What the gateway does with circuits: who is picked, what is judged when, and what a probe is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.breaker import CircuitEvent, CircuitState
from gateway.core.model import FailureKind, Limits, Reason
from gateway.core.tickets import Broken, Deliver, Reject
from tests.unit.core_support import ONE_STRIKE, Shell, instance, name_of, no_jitter, on, policy, route, sick

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


@pytest.fixture
def shell() -> Shell:
    shell = Shell(draw=no_jitter)
    shell.view(instance("a"), instance("b"))
    shell.policies(policy(circuit=ONE_STRIKE))
    return shell


def test_an_open_circuit_is_not_picked_until_its_time_is_over(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    assert shell.states() == {"a": "open", "b": "closed"}
    assert shell.shares(route(), 20) == {"b": 20}
    shell.wait(9.999)
    assert shell.states()["a"] == "open"
    shell.wait(0.001)
    assert shell.states()["a"] == "half_open"
    shell.answer(on(shell, "a"))
    assert shell.states()["a"] == "closed"
    assert shell.shares(route(), 20) == {"a": 10, "b": 10}


def test_changes_are_told(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    shell.answer(on(shell, "a"))
    told = [(change.key.service_id, change.event, change.before, change.after) for change in shell.changes]
    assert told == [
        ("a", CircuitEvent.TRIP, CLOSED, OPEN),
        ("a", CircuitEvent.MATURE, OPEN, HALF_OPEN),
        ("a", CircuitEvent.PROBES_PASSED, HALF_OPEN, CLOSED),
    ]
    assert [change.now for change in shell.changes] == [100.0, 110.0, 110.0]


def test_probes_are_bounded_under_concurrency(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, half_open_probes=2)))
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    flying = [shell.send(route()) for _ in range(30)]
    assert [name_of(each) for each in flying].count("a") == 2
    assert sum(each.permit.probe for each in flying) == 2


def test_a_probe_is_judged_at_its_head(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    assert isinstance(shell.head(probe), Deliver)
    assert shell.states()["a"] == "closed"
    shell.wait(1000.0)
    assert shell.states()["a"] == "closed"
    shell.end(probe)


def test_a_failing_probe_opens_for_twice_as_long(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    assert isinstance(shell.head(on(shell, "a"), 503, replayable=False), Deliver)
    assert shell.states()["a"] == "open"
    assert shell.circuit("a").open_until == shell.now + 20.0


def test_a_probe_without_a_head_is_judged_failed_after_open_for(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    shell.wait(9.999)
    assert shell.states()["a"] == "half_open"
    shell.wait(0.001)
    assert shell.states()["a"] == "open"
    assert shell.circuit("a").openings == 2
    assert isinstance(shell.head(probe), Deliver)
    assert shell.states()["a"] == "open"
    shell.end(probe)
    assert shell.circuit("a").in_flight == 0


@pytest.mark.parametrize("ending", ["abandon", "reject"])
def test_a_probe_whose_ticket_ends_otherwise_frees_its_place(shell: Shell, ending: str) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    assert shell.shares(route(), 6) == {"b": 6}
    if ending == "abandon":
        shell.abandon(probe.ticket)
    else:
        shell.reject(probe.ticket, Reason.REQUEST_TIMEOUT)
    assert shell.states()["a"] == "half_open"
    shell.answer(on(shell, "a"))
    assert shell.states()["a"] == "closed"
    shell.wait(100.0)
    assert shell.states()["a"] == "closed"


def test_a_stale_connection_says_nothing_about_a_probe(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    shell.answer(shell.retried(probe, FailureKind.STALE_CONNECTION))
    assert shell.states()["a"] == "half_open"
    shell.answer(on(shell, "a"))
    assert shell.states()["a"] == "closed"


def test_a_freed_probe_place_lets_a_waiting_ticket_go() -> None:
    shell = Shell(draw=no_jitter)
    shell.view(instance("a"), instance("b"))
    shell.policies(policy(circuit=ONE_STRIKE, cap=1))
    patient = route(limits=Limits(queue_timeout=100.0))
    flying = {name_of(each): each for each in (shell.send(patient) for _ in range(2))}
    shell.fail(flying["a"])
    waiting = shell.queued(patient)
    shell.wait(10.0)
    probe = shell.woken_attempt(waiting)
    assert name_of(probe) == "a"
    second = shell.queued(patient)
    shell.abandon(probe.ticket)
    assert name_of(shell.woken_attempt(second)) == "a"


def test_a_passed_probe_makes_room_for_the_next_one() -> None:
    shell = Shell(draw=no_jitter)
    shell.view(instance("a"))
    shell.policies(policy(circuit=replace(ONE_STRIKE, half_open_probes=2)))
    shell.fail(shell.send(route()))
    shell.wait(10.0)
    first, _ = shell.send(route()), shell.send(route())
    assert shell.refused(route()).reason is Reason.CIRCUIT_OPEN
    shell.head(first)
    assert shell.states()["a"] == "half_open"
    assert shell.send(route()).permit.probe


def test_requests_sent_before_it_opened_do_not_judge_a_probe(shell: Shell) -> None:
    old, oldest = on(shell, "a"), on(shell, "a")
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    shell.answer(oldest)
    assert shell.states()["a"] == "half_open"
    shell.fail(old)
    assert shell.states()["a"] == "half_open"
    shell.head(probe)
    assert shell.states()["a"] == "closed"


def test_the_last_one_open_tells_when_to_come_back() -> None:
    shell = Shell(draw=no_jitter)
    shell.view(instance("a"), instance("b"))
    shell.policies(policy(circuit=ONE_STRIKE))
    shell.fail(on(shell, "a"))
    shell.wait(4.0)
    shell.fail(on(shell, "b"))
    refusal = shell.refused(route())
    assert (refusal.reason, refusal.status, refusal.retry_after) == (Reason.CIRCUIT_OPEN, 503, 6.0)


def test_when_to_come_back_looks_at_instances_of_the_backend_alone() -> None:
    shell = Shell(draw=no_jitter)
    critical = sick(instance("c"))
    shell.view(instance("a"), instance("c"))
    shell.policies(policy(circuit=ONE_STRIKE))
    shell.fail(on(shell, "c"))
    shell.wait(5.0)
    shell.view(instance("a"), critical)
    shell.fail(on(shell, "a"))
    assert shell.refused(route()).retry_after == 10.0


def test_what_a_client_does_is_no_failure(shell: Shell) -> None:
    for _ in range(10):
        shell.abandon(shell.send(route()).ticket)
        shell.reject(shell.send(route()).ticket, Reason.BODY_TOO_LARGE)
    assert shell.states() == {"a": "closed", "b": "closed"}


def test_which_statuses_are_failures_is_configured(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, failure_statuses=frozenset({500}))))
    shell.answer(on(shell, "a"), 503)
    assert shell.states()["a"] == "closed"
    shell.answer(on(shell, "a"), 500)
    assert shell.states()["a"] == "open"


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        (FailureKind.CONNECT_FAILURE, True),
        (FailureKind.TIMEOUT, True),
        (FailureKind.RESET, True),
        (FailureKind.STALE_CONNECTION, False),
    ],
)
def test_which_failures_count(shell: Shell, kind: FailureKind, counts: bool) -> None:
    assert isinstance(shell.fail(on(shell, "a"), kind), Reject)
    assert shell.states()["a"] == ("open" if counts else "closed")


def test_a_body_cut_short_counts_as_a_failure(shell: Shell) -> None:
    attempt = on(shell, "a")
    shell.head(attempt)
    assert isinstance(shell.fail(attempt, FailureKind.TRUNCATED), Broken)
    assert shell.states()["a"] == "open"


def test_a_failed_response_that_is_cut_short_fails_once() -> None:
    shell = Shell()
    shell.view(instance("a"))
    shell.policies(policy(circuit=replace(ONE_STRIKE, consecutive_failures=10)))
    attempt = shell.send(route())
    shell.head(attempt, 500, replayable=False)
    shell.fail(attempt, FailureKind.TRUNCATED)
    assert shell.circuit("a").consecutive_failures == 1


def test_a_tunnel_that_is_cut_counts_though_it_opened_well(shell: Shell) -> None:
    tunnel = on(shell, "a")
    shell.head(tunnel, 101)
    shell.fail(tunnel, FailureKind.TRUNCATED)
    assert shell.states()["a"] == "open"


def test_a_passed_probe_that_is_cut_short_counts_against_the_closed_circuit(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    shell.head(probe)
    assert shell.states()["a"] == "closed"
    shell.fail(probe, FailureKind.TRUNCATED)
    assert shell.states()["a"] == "open"


def test_a_tunnel_of_an_older_epoch_that_is_cut_says_nothing(shell: Shell) -> None:
    """It went to what the instance was before it failed and came back."""
    tunnel = on(shell, "a")
    shell.head(tunnel, 101)
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    shell.answer(on(shell, "a"))
    assert shell.states()["a"] == "closed"
    shell.fail(tunnel, FailureKind.TRUNCATED)
    assert shell.states()["a"] == "closed"


def test_a_tunnel_that_opened_in_a_later_epoch_than_it_was_sent_in_says_nothing(shell: Shell) -> None:
    tunnel = on(shell, "a")
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    shell.answer(on(shell, "a"))
    shell.head(tunnel, 101)
    shell.fail(tunnel, FailureKind.TRUNCATED)
    assert shell.states()["a"] == "closed"


def test_a_tunnel_does_not_hold_its_judgement(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, consecutive_failures=2)))
    shell.fail(on(shell, "a"))
    shell.head(on(shell, "a"), 101)
    assert shell.circuit("a").consecutive_failures == 0


def test_an_answer_is_judged_when_it_has_ended(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, consecutive_failures=2)))
    shell.fail(on(shell, "a"))
    attempt = on(shell, "a")
    shell.head(attempt)
    assert shell.circuit("a").consecutive_failures == 1
    shell.end(attempt)
    assert shell.circuit("a").consecutive_failures == 0
