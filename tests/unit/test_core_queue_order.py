"""Who goes before whom: retries, later versions of a route, tickets for different backends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.model import Backend, CircuitPolicy, FailureKind, Limits, Reason, RetryPolicy, Route
from gateway.core.tickets import Send, Wait
from tests.unit.core_support import STEADY, Shell, instance, name_of, policy, route

ONE = Limits(in_flight=1, queue=10, queue_timeout=1.0)


@pytest.fixture
def shell() -> Shell:
    shell = Shell()
    shell.view(instance("a"), instance("b"), instance("c"))
    return shell


def load(shell: Shell, name: str = "r") -> tuple[int, int]:
    found = next(each for each in shell.core.loads() if each.route == name)
    return found.in_flight, found.queued


def test_a_retry_goes_though_the_queue_is_full(shell: Shell) -> None:
    """It leaves one place and takes another: those who wait for a place of the route are no worse off."""
    limited = route(limits=Limits(in_flight=1, queue=1))
    first = shell.send(limited)
    waiting = shell.queued(limited)
    second = shell.retried(first)
    assert name_of(second) != name_of(first)
    assert load(shell) == (1, 1)
    assert waiting.id not in shell.woken


def test_retries_wait_in_order_and_before_fresh_tickets(shell: Shell) -> None:
    shell.view(instance("a"), instance("b"), instance("c"))
    shell.policies(policy(cap=1, circuit=STEADY))
    flying = {name_of(each): each for each in (shell.send(route()) for _ in range(3))}
    fresh = shell.queued(route())
    one = shell.fail(flying["a"], FailureKind.CONNECT_FAILURE, replayable=True)
    assert isinstance(one, Wait)
    took_a = shell.woken_attempt(fresh)
    two = shell.fail(took_a, FailureKind.CONNECT_FAILURE, replayable=True)
    assert isinstance(two, Wait)
    later = shell.queued(route()) if not isinstance(shell.request(route()), Send) else None
    shell.answer(flying["b"])
    assert name_of(shell.woken_attempt(one.ticket)) == "b"
    shell.answer(flying["c"])
    assert name_of(shell.woken_attempt(two.ticket)) == "c"
    assert later is None or later.id not in shell.woken


def test_a_retry_that_has_to_wait_frees_its_instance_for_other_routes(shell: Shell) -> None:
    shell.view(instance("a"), instance("b"))
    shell.policies(policy(cap=1, circuit=STEADY))
    flying = {name_of(each): each for each in (shell.send(route("one")) for _ in range(2))}
    other = shell.queued(route("two"))
    assert isinstance(shell.fail(flying["a"], FailureKind.RESET, replayable=True), Wait)
    assert name_of(shell.woken_attempt(other)) == "a"


def two_backends(shell: Shell) -> Route:
    split = route("r", "orders", "stock", limits=ONE)
    shell.routes(split)
    shell.view(instance("a"), instance("b"))
    shell.view(instance("s", service="stock"), service="stock")
    return split


def test_a_retry_that_has_to_wait_frees_its_place_for_the_other_backend(shell: Shell) -> None:
    split = two_backends(shell)
    shell.policies(policy(cap=1, circuit=STEADY))
    first = shell.send(split)
    shell.send(route("other"))
    waiting = shell.queued(split)
    assert isinstance(shell.fail(first, FailureKind.RESET, replayable=True), Wait)
    assert name_of(shell.woken_attempt(waiting)) == "s"


def test_an_ending_frees_its_place_for_the_other_backend(shell: Shell) -> None:
    split = two_backends(shell)
    first, waiting = shell.send(split), shell.queued(split)
    shell.answer(first)
    assert name_of(shell.woken_attempt(waiting)) == "s"


def test_a_retry_that_waits_for_an_untried_instance_does_not_hold_up_fresh_tickets(shell: Shell) -> None:
    shell.view(instance("a"), instance("b"))
    shell.policies(policy(cap=1, circuit=STEADY))
    flying = {name_of(each): each for each in (shell.send(route()) for _ in range(2))}
    waiting = shell.fail(flying["a"], FailureKind.RESET, replayable=True)
    assert isinstance(waiting, Wait)
    assert name_of(shell.send(route())) == "a"
    shell.answer(flying["b"])
    assert name_of(shell.woken_attempt(waiting.ticket)) == "b"


def test_one_who_leaves_the_queue_makes_way_for_a_later_version_with_more_room(shell: Shell) -> None:
    """A ticket keeps the limits of its route's version, so the one behind may be able to go where this one was not."""
    before = route(limits=Limits(in_flight=1, queue_timeout=5.0))
    after = replace(before, version=2, limits=Limits(in_flight=2, queue_timeout=9.0))
    shell.send(before)
    held = shell.queued(before)
    behind = shell.queued(after)
    shell.view(instance("a"), instance("b"))
    assert not shell.woken
    shell.abandon(held)
    shell.woken_attempt(behind)


def test_queue_timeout_makes_way_for_a_later_version_with_more_room(shell: Shell) -> None:
    before = route(limits=Limits(in_flight=1, queue_timeout=5.0))
    after = replace(before, version=2, limits=Limits(in_flight=2, queue_timeout=9.0))
    shell.send(before)
    held, behind = shell.queued(before), shell.queued(after)
    shell.wait(5.0)
    assert shell.woken_reason(held) is Reason.QUEUE_TIMEOUT
    shell.woken_attempt(behind)


def test_two_tags_of_one_service_have_their_own_lanes(shell: Shell) -> None:
    shell.view(instance("a", tags=["blue"]), instance("b", tags=["green"]))
    shell.policies(policy(cap=1))
    blue = route("blue", Backend("orders", tags=frozenset({"blue"})))
    green = route("green", Backend("orders", tags=frozenset({"green"})))
    on_blue, on_green = shell.send(blue), shell.send(green)
    waiting_blue, waiting_green = shell.queued(blue), shell.queued(green)
    shell.answer(on_green)
    assert list(shell.woken) == [waiting_green.id]
    shell.answer(on_blue)
    assert waiting_blue.id in shell.woken


def test_cap_holds_for_a_retry_on_the_only_instance(shell: Shell) -> None:
    shell.view(instance("a"))
    shell.policies(policy(cap=1, circuit=CircuitPolicy(consecutive_failures=0, failure_ratio=0.0)))
    first = shell.send(route(retry=RetryPolicy(attempts=2)))
    waiting = shell.queued(route())
    again = shell.retried(first)
    assert name_of(again) == "a"
    assert shell.circuit("a").in_flight == 1
    shell.answer(again)
    shell.woken_attempt(waiting)
