"""Steps run at their time, in order, once; cancelled ones do not, and are not kept."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import FailureKind, Limits
from gateway.core.tickets import Send, Wait
from gateway.core.timers import Timer, Timers
from tests.unit.core_support import Shell, facts, instance, policy, route


def noting(ran: list[object], what: object) -> Callable[[float], None]:
    return lambda now: ran.append((what, now))


def test_steps_run_when_due_and_in_order() -> None:
    timers = Timers()
    ran: list[object] = []
    for when in (3.0, 1.0, 2.0):
        timers.at(when, noting(ran, when))
    assert timers.next == 1.0
    timers.run(0.9)
    assert not ran
    timers.run(2.0)
    assert ran == [(1.0, 2.0), (2.0, 2.0)]
    assert timers.next == 3.0


def test_equal_times_run_in_the_order_they_were_set() -> None:
    timers = Timers()
    ran: list[object] = []
    for number in range(20):
        timers.at(1.0, noting(ran, number))
    timers.run(1.0)
    assert ran == [(number, 1.0) for number in range(20)]


def test_a_step_may_set_another_that_is_due_too() -> None:
    timers = Timers()
    ran: list[object] = []

    def step(now: float) -> None:
        timers.at(1.5, ran.append)

    timers.at(1.0, step)
    timers.run(2.0)
    assert ran == [2.0]
    assert timers.next is None


def test_a_step_may_cancel_one_that_is_due_too() -> None:
    timers = Timers()
    ran: list[object] = []
    later = timers.at(2.0, ran.append)
    timers.at(1.0, lambda now: timers.cancel(later))
    timers.run(3.0)
    assert not ran
    timers.cancel(later)
    assert len(timers) == 0


@given(st.lists(st.tuples(st.sampled_from(("set", "cancel", "run")), st.integers(0, 20)), max_size=80))
def test_as_a_plain_list_would_do(script: list[tuple[str, int]]) -> None:
    timers, now = Timers(), 0.0
    ran: list[object] = []
    mine: dict[int, tuple[float, Timer]] = {}
    for number, (action, value) in enumerate(script):
        if action == "set":
            mine[number] = (now + value, timers.at(now + value, noting(ran, number)))
        elif action == "cancel" and mine:
            timers.cancel(mine.pop(sorted(mine)[value % len(mine)])[1])
        elif action == "run":
            now += value
            due = sorted((when, each) for each, (when, _) in mine.items() if when <= now)
            timers.run(now)
            assert ran == [(each, now) for _, each in due]
            ran.clear()
            for _, each in due:
                timers.cancel(mine.pop(each)[1])
        assert timers.next == min((when for when, _ in mine.values()), default=None)
        assert len(timers) <= 2 * len(mine) + 1


def test_tickets_that_left_the_queue_are_not_kept_until_their_time_is_up() -> None:
    """With a minute's patience and a thousand queued requests a second that would be sixty thousand requests."""
    shell = Shell()
    shell.view(instance("a"))
    shell.policies(policy(cap=1))
    patient = route(limits=Limits(queue_timeout=300.0))
    flying = shell.send(patient)
    kept = []
    for _ in range(500):
        request = facts()
        kept.append(weakref.ref(request.headers))
        shell.queued(patient, request)
        del request
        shell.answer(flying)
        ((_, woken),) = shell.woken.items()
        shell.woken.clear()
        assert isinstance(woken, Send)
        flying = woken.attempt
    gc.collect()
    assert sum(each() is not None for each in kept) < 5
    assert shell.core.next_deadline is None


def test_a_ticket_may_be_queued_twice() -> None:
    shell = Shell()
    shell.view(instance("a"), instance("b"))
    shell.policies(policy(cap=1))
    patient = route(limits=Limits(queue_timeout=10.0))
    first, second = shell.send(patient), shell.send(patient)
    waiting = shell.queued(patient)
    shell.wait(9.0)
    shell.answer(first)
    attempt = shell.woken_attempt(waiting)
    assert isinstance(shell.fail(attempt, FailureKind.CONNECT_FAILURE, replayable=True), Wait)
    shell.wait(9.9)
    assert waiting.id not in shell.woken
    shell.wait(0.1)
    assert waiting.id in shell.woken
    assert second.ticket.outcome is None
