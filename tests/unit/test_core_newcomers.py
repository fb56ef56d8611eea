"""Instances that come, or come back: slow start, and what was in flight before."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.model import (
    Limits,
)
from tests.unit.core_support import ONE_STRIKE, Shell, instance, policy, route, shell_with, sick


def test_a_newcomer_warms_up_step_by_step() -> None:
    shell = shell_with(instance("old", 10))
    shell.policies(policy(slow_start=90.0))
    shell.wait(1000.0)
    shell.view(instance("old", 10), instance("new", 10))
    shares = []
    for _ in range(11):
        shell.picks(route(), 220)
        shares.append(shell.shares(route(), 220)["new"])
        shell.wait(10.0)
    assert shares[0] == 20
    assert shares == sorted(shares)
    assert shares[9:] == [110, 110]


@given(begin=st.floats(0.0, 1e6), length=st.floats(0.01, 3600.0))
@settings(deadline=None)
def test_slow_start_ends_whatever_the_clock_says(begin: float, length: float) -> None:
    """The last step's timer must not fire a rounding error too early, since no other one follows."""
    shell = shell_with(instance("old"), now=begin)
    shell.policies(policy(slow_start=length))
    shell.wait(2 * length)
    shell.view(instance("old"), instance("new"))
    shell.picks(route(), 2)
    while shell.core.next_deadline is not None:
        shell.wait(shell.core.next_deadline - shell.now)
        shell.picks(route(), 1)
    shell.picks(route(), 2)
    assert shell.shares(route(), 2) == {"old": 1, "new": 1}


@given(begin=st.floats(0.0, 1e6), length=st.floats(0.01, 3600.0))
@settings(deadline=None)
def test_each_timer_of_a_slow_start_finds_the_next_step(begin: float, length: float) -> None:
    shell = shell_with(now=begin)
    shell.policies(policy(slow_start=length))
    shell.view(instance("new"))
    service = shell.core._services.get("orders")
    (member,) = service.members.values()
    steps = []
    while shell.core.next_deadline is not None:
        shell.wait(shell.core.next_deadline - shell.now)
        steps.append(service.warm_step(member, shell.now))
    assert steps == [2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_slow_start_put_in_force_meanwhile_ends_too() -> None:
    shell = shell_with(instance("old"))
    shell.wait(100.0)
    shell.view(instance("old"), instance("new"))
    shell.wait(1.0)
    shell.policies(policy(slow_start=10.0))
    assert shell.shares(route(), 110)["new"] < 20
    shell.wait(20.0)
    shell.picks(route(), 20)
    assert shell.shares(route(), 10) == {"old": 5, "new": 5}


def test_who_recovers_warms_up_again() -> None:
    shell = shell_with(instance("a"), instance("b"))
    shell.policies(policy(slow_start=10.0))
    shell.wait(100.0)
    shell.view(instance("a"), sick(instance("b")))
    shell.wait(100.0)
    shell.view(instance("a"), instance("b"))
    assert shell.shares(route(), 11) == {"a": 10, "b": 1}


def test_a_circuit_that_closes_warms_up() -> None:
    shell = shell_with(instance("a"), instance("b"))
    shell.policies(policy(slow_start=10.0, circuit=ONE_STRIKE))
    shell.wait(100.0)
    shell.trip(route(), "b")
    shell.wait(11.0)
    while shell.states()["b"] != "closed":
        shell.picks(route(), 1)
    shell.picks(route(), 11)
    assert shell.shares(route(), 11) == {"a": 10, "b": 1}


def test_an_instance_that_is_registered_again_still_has_what_is_in_flight() -> None:
    """One request at a time means so even where the catalog forgot the instance for a moment."""
    shell = shell_with(instance("a"))
    shell.policies(policy(cap=1))
    patient = route(limits=Limits(queue_timeout=60.0))
    flying = shell.send(patient)
    shell.view()
    shell.view(instance("a"))
    waiting = shell.queued(patient)
    shell.answer(flying)
    shell.answer(shell.woken_attempt(waiting))
    assert shell.circuit("a").in_flight == 0


def test_a_forgotten_service_that_comes_back_still_has_what_is_in_flight() -> None:
    shell = shell_with(instance("a"))
    shell.policies(policy(cap=1))
    flying = shell.send(route())
    shell.forget()
    shell.view(instance("a"))
    waiting = shell.queued(route())
    shell.answer(flying)
    shell.woken_attempt(waiting)


def test_another_endpoint_is_another_instance() -> None:
    shell = shell_with(instance("a"))
    shell.policies(policy(cap=1))
    shell.send(route())
    shell.view(instance("a", port=9))
    shell.send(route())


def test_what_was_in_flight_before_does_not_judge_the_one_registered_again() -> None:
    shell = shell_with(instance("a"))
    shell.policies(policy(circuit=ONE_STRIKE))
    flying = shell.send(route())
    shell.view()
    shell.view(instance("a"))
    shell.fail(flying)
    assert shell.states() == {"a": "closed"}


def test_instances_that_left_are_not_remembered_for_ever() -> None:
    shell = Shell()
    for number in range(100):
        shell.view(instance("b"), instance(f"i{number}"))
        flying = [shell.send(route()) for _ in range(2)]
        shell.view(instance("b"))
        for attempt in flying:
            shell.answer(attempt)
    assert len(shell.core._services._departed) <= 1
