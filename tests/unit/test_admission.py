"""Who may go and who waits: in-flight limits, bounded queues, their order, and what wakes whom."""

from __future__ import annotations

import pytest

from gateway.core.model import FailureKind, Limits, Outcome, Reason
from gateway.core.tickets import Broken, Reject, Send, Ticket, Wait
from tests.unit.core_support import Shell, instance, name_of, policy, route, sick

ONE = Limits(in_flight=1, queue=10, queue_timeout=1.0)


@pytest.fixture
def shell() -> Shell:
    shell = Shell()
    shell.view(instance("a"), instance("b"), instance("c"))
    return shell


def load(shell: Shell, name: str = "r") -> tuple[int, int]:
    found = next(each for each in shell.core.loads() if each.route == name)
    return found.in_flight, found.queued


def test_a_route_without_limits_sends_at_once(shell: Shell) -> None:
    attempts = [shell.send(route()) for _ in range(500)]
    assert load(shell) == (500, 0)
    for attempt in attempts:
        shell.answer(attempt)
    assert load(shell) == (0, 0)


def test_queue_is_first_in_first_out(shell: Shell) -> None:
    limited = route(limits=ONE)
    flying = shell.send(limited)
    queue = [shell.queued(limited) for _ in range(5)]
    served: list[Ticket] = []
    while True:
        shell.answer(flying)
        if not shell.woken:
            break
        ((_, woken),) = shell.woken.items()
        shell.woken.clear()
        assert isinstance(woken, Send)
        flying = woken.attempt
        served.append(flying.ticket)
    assert served == queue
    assert load(shell) == (0, 0)


def test_queue_full_is_refused_and_counted_once(shell: Shell) -> None:
    limited = route(limits=Limits(in_flight=1, queue=2))
    shell.send(limited)
    shell.queued(limited)
    shell.queued(limited)
    refusal = shell.refused(limited)
    assert (refusal.reason, refusal.status) == (Reason.QUEUE_FULL, 503)
    assert refusal.ticket.outcome is Outcome.REJECTED
    assert shell.core.counters.rejections[Reason.QUEUE_FULL] == 1
    assert load(shell) == (1, 2)


def test_without_a_queue_the_limit_refuses(shell: Shell) -> None:
    limited = route(limits=Limits(in_flight=1, queue=0))
    shell.send(limited)
    assert shell.refused(limited).reason is Reason.QUEUE_FULL


def test_queue_timeout_is_told_at_its_time(shell: Shell) -> None:
    limited = route(limits=ONE)
    shell.send(limited)
    decision = shell.request(limited)
    assert isinstance(decision, Wait)
    assert decision.until == shell.now + 1.0
    assert shell.core.next_deadline == decision.until
    shell.wait(0.999)
    assert not shell.woken
    shell.wait(0.001)
    assert shell.woken_reason(decision.ticket) is Reason.QUEUE_TIMEOUT
    assert load(shell) == (1, 0)


def test_queue_timeout_does_not_touch_who_was_sent_meanwhile(shell: Shell) -> None:
    limited = route(limits=ONE)
    first = shell.send(limited)
    waiting = shell.queued(limited)
    shell.answer(first)
    attempt = shell.woken_attempt(waiting)
    shell.wait(5.0)
    assert waiting.outcome is None
    shell.answer(attempt)
    assert waiting.outcome is Outcome.RESPONDED


def test_a_client_that_leaves_the_queue_frees_its_place(shell: Shell) -> None:
    limited = route(limits=Limits(in_flight=1, queue=1))
    flying = shell.send(limited)
    waiting = shell.queued(limited)
    shell.abandon(waiting)
    assert load(shell) == (1, 0)
    later = shell.queued(limited)
    shell.answer(flying)
    assert list(shell.woken) == [later.id]
    assert waiting.outcome is Outcome.ABANDONED


@pytest.mark.parametrize("ending", ["answer", "fail", "abandon", "reject", "truncated"])
def test_every_ending_lets_the_next_one_go(shell: Shell, ending: str) -> None:
    limited = route(limits=ONE)
    flying = shell.send(limited)
    waiting = shell.queued(limited)
    if ending == "answer":
        shell.answer(flying)
    elif ending == "fail":
        assert isinstance(shell.fail(flying), Reject)
    elif ending == "abandon":
        shell.abandon(flying.ticket)
    elif ending == "reject":
        shell.reject(flying.ticket, Reason.REQUEST_TIMEOUT)
    else:
        shell.head(flying)
        assert isinstance(shell.fail(flying, FailureKind.TRUNCATED), Broken)
    assert shell.woken_attempt(waiting).ticket is waiting


def test_one_in_flight_per_instance(shell: Shell) -> None:
    shell.policies(policy(cap=1))
    busy = {name_of(shell.send(route())) for _ in range(3)}
    assert busy == {"a", "b", "c"}
    waiting = shell.queued(route())
    assert all(view.in_flight == 1 for view in shell.core.circuits())
    assert waiting.outcome is None


def test_fifty_clients_one_at_a_time_on_three_instances_nobody_starves() -> None:
    shell = Shell()
    shell.view(instance("a", 5), instance("b"), instance("c", 2))
    shell.policies(policy(cap=1))
    limited = route(limits=Limits(queue=50, queue_timeout=60.0))
    flying = []
    order: list[int] = []
    for _ in range(50):
        decision = shell.request(limited)
        if isinstance(decision, Send):
            flying.append(decision.attempt)
            order.append(decision.attempt.ticket.id)
    for step in range(1000):
        assert len({name_of(each) for each in flying}) == len(flying) == 3
        shell.answer(flying.pop(step * 7 % 3))
        again = shell.request(limited)
        assert isinstance(again, Wait)
        for decision in shell.woken.values():
            assert isinstance(decision, Send)
            flying.append(decision.attempt)
            order.append(decision.attempt.ticket.id)
        shell.woken.clear()
    assert order == sorted(order)
    assert len(order) == 1003


def test_raising_the_cap_lets_waiting_tickets_go(shell: Shell) -> None:
    shell.policies(policy(cap=1))
    for _ in range(3):
        shell.send(route())
    waiting = shell.queued(route())
    shell.policies(policy(cap=2))
    shell.woken_attempt(waiting)


def test_lowering_the_cap_is_held_once_the_surplus_has_ended(shell: Shell) -> None:
    shell.view(instance("a"))
    flying = [shell.send(route()) for _ in range(4)]
    shell.policies(policy(cap=2))
    waiting = shell.queued(route(limits=Limits(queue_timeout=60.0)))
    shell.answer(flying.pop())
    shell.answer(flying.pop())
    assert waiting.id not in shell.woken
    shell.answer(flying.pop())
    shell.woken_attempt(waiting)
    assert shell.circuit("a").in_flight == 2


def test_a_new_instance_takes_the_oldest_waiting(shell: Shell) -> None:
    shell.view(instance("a"))
    shell.policies(policy(cap=1))
    shell.send(route())
    first, second = shell.queued(route()), shell.queued(route())
    shell.view(instance("a"), instance("b"))
    assert name_of(shell.woken_attempt(first)) == "b"
    assert second.id not in shell.woken


def test_waiting_tickets_of_a_vanished_service_are_told_so(shell: Shell) -> None:
    shell.policies(policy(cap=1))
    for _ in range(3):
        shell.send(route())
    waiting = [shell.queued(route()), shell.queued(route())]
    shell.view()
    assert [shell.woken_reason(ticket) for ticket in waiting] == [Reason.NO_HEALTHY_INSTANCE] * 2
    assert load(shell) == (3, 0)


def test_waiting_tickets_of_a_forgotten_service_are_told_so(shell: Shell) -> None:
    shell.policies(policy(cap=1))
    flying = [shell.send(route()) for _ in range(3)]
    waiting = shell.queued(route())
    shell.forget()
    assert shell.woken_reason(waiting) is Reason.NO_HEALTHY_INSTANCE
    for attempt in flying:
        shell.answer(attempt)
    assert load(shell) == (0, 0)
    assert shell.refused(route()).reason is Reason.NO_HEALTHY_INSTANCE


def test_waiting_tickets_go_to_another_backend_when_theirs_empties(shell: Shell) -> None:
    split = route("r", "orders", "stock")
    shell.routes(split)
    shell.policies(policy(cap=1), policy("stock", cap=1))
    shell.view(instance("a"))
    shell.view(instance("s", service="stock"), service="stock")
    flying = {name_of(each): each for each in (shell.send(split), shell.send(split))}
    waiting = [shell.queued(split), shell.queued(split)]
    shell.view(sick(instance("a")))
    assert not shell.woken
    shell.answer(flying["s"])
    first = shell.woken_attempt(waiting[1])
    assert name_of(first) == "s"
    shell.answer(first)
    assert name_of(shell.woken_attempt(waiting[0])) == "s"


def test_a_ticket_that_changes_to_another_backend_goes_at_once_where_there_is_room(shell: Shell) -> None:
    split = route("r", "orders", "stock")
    shell.routes(split)
    shell.view(instance("a"))
    shell.view(instance("s", service="stock"), service="stock")
    shell.policies(policy(cap=1))
    flying = [shell.send(split) for _ in range(2)]
    waiting = shell.queued(split)
    shell.view()
    moved = shell.woken_attempt(waiting)
    assert name_of(moved) == "s"
    for attempt in (*flying, moved):
        shell.answer(attempt)
    assert load(shell) == (0, 0)


def test_two_routes_to_one_service_are_served_by_age(shell: Shell) -> None:
    shell.view(instance("a"))
    shell.policies(policy(cap=1))
    one, two = route("one"), route("two")
    flying = shell.send(one)
    waiting = [shell.queued(each) for each in (two, one, two, one)]
    served = []
    for _ in waiting:
        shell.answer(flying)
        ((_, woken),) = shell.woken.items()
        shell.woken.clear()
        assert isinstance(woken, Send)
        flying = woken.attempt
        served.append(flying.ticket)
    assert served == waiting


def test_a_full_route_does_not_hold_up_another_one(shell: Shell) -> None:
    limited, free = route("limited", limits=ONE), route("free")
    shell.send(limited)
    shell.queued(limited)
    shell.send(free)


def test_a_service_that_hangs_does_not_hold_up_another(shell: Shell) -> None:
    shell.policies(policy(cap=1))
    shell.view(instance("s", service="stock"), service="stock")
    for _ in range(3):
        shell.send(route("orders"))
    for _ in range(20):
        shell.queued(route("orders"))
    for _ in range(100):
        shell.answer(shell.send(route("stock", "stock")))


def test_a_busy_backend_of_a_route_does_not_hold_up_its_other_backend(shell: Shell) -> None:
    shell.policies(policy(cap=1))
    shell.view(instance("a"))
    shell.view(instance("s", service="stock"), service="stock")
    split = route("r", "orders", "stock")
    shell.routes(split)
    decisions = [shell.request(split) for _ in range(8)]
    sent = [each.attempt.instance.service for each in decisions if isinstance(each, Send)]
    assert sorted(sent) == ["orders", "stock", "stock", "stock", "stock"]


def test_a_long_queue_is_told_at_once_that_its_service_vanished(shell: Shell) -> None:
    shell.policies(policy(cap=1))
    crowded = route(limits=Limits(queue=5000))
    for _ in range(3):
        shell.send(crowded)
    waiting = [shell.queued(crowded) for _ in range(5000)]
    shell.view()
    assert {shell.woken_reason(ticket) for ticket in waiting} == {Reason.NO_HEALTHY_INSTANCE}
