"""Which outcome is tried again, where, and the budget that keeps retries from becoming a storm."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import Backend, CircuitPolicy, FailureKind, Limits, Reason, RetryBudget, RetryPolicy
from gateway.core.retry import Budget, may_retry_failure, may_retry_status
from gateway.core.tickets import Broken, Deliver, Reject, Send, Wait
from tests.unit.core_support import STEADY, Shell, facts, instance, name_of, policy, route

PATIENT = RetryPolicy(attempts=5)


@pytest.fixture
def shell() -> Shell:
    shell = Shell()
    shell.view(instance("a"), instance("b"), instance("c"))
    return shell


@pytest.mark.parametrize(
    ("kind", "method", "again"),
    [
        (FailureKind.CONNECT_FAILURE, "GET", True),
        (FailureKind.CONNECT_FAILURE, "POST", True),
        (FailureKind.RESET, "GET", True),
        (FailureKind.RESET, "PUT", True),
        (FailureKind.RESET, "POST", False),
        (FailureKind.RESET, "PATCH", False),
        (FailureKind.STALE_CONNECTION, "GET", True),
        (FailureKind.STALE_CONNECTION, "POST", False),
        (FailureKind.TIMEOUT, "GET", False),
        (FailureKind.TRUNCATED, "GET", False),
    ],
)
def test_which_failures_are_tried_again_by_default(kind: FailureKind, method: str, again: bool) -> None:
    assert may_retry_failure(RetryPolicy(), method, kind, True) is again
    assert not may_retry_failure(RetryPolicy(), method, kind, False)


def test_what_retry_on_names_decides() -> None:
    only_timeouts = RetryPolicy(on_failures=frozenset({FailureKind.TIMEOUT}))
    assert may_retry_failure(only_timeouts, "GET", FailureKind.TIMEOUT, True)
    assert not may_retry_failure(only_timeouts, "GET", FailureKind.CONNECT_FAILURE, True)
    assert not may_retry_failure(only_timeouts, "GET", FailureKind.STALE_CONNECTION, True)


def test_the_route_may_allow_more_methods() -> None:
    allowed = RetryPolicy(methods=frozenset({"POST"}))
    assert may_retry_failure(allowed, "POST", FailureKind.RESET, True)
    assert not may_retry_failure(allowed, "GET", FailureKind.RESET, True)


@pytest.mark.parametrize(
    ("status", "method", "replayable", "again"),
    [(503, "GET", True, True), (503, "GET", False, False), (503, "POST", True, False), (500, "GET", True, False)],
)
def test_which_statuses_are_tried_again(status: int, method: str, replayable: bool, again: bool) -> None:
    assert may_retry_status(RetryPolicy(on_statuses=frozenset({503})), method, status, replayable) is again


def test_each_retry_goes_to_another_instance(shell: Shell) -> None:
    first = shell.send(route(retry=PATIENT))
    second = shell.retried(first)
    third = shell.retried(second)
    assert {name_of(each) for each in (first, second, third)} == {"a", "b", "c"}
    assert (first.number, second.number, third.number) == (1, 2, 3)
    assert third.ticket.attempts == 3


def test_with_all_tried_a_retry_may_repeat_one(shell: Shell) -> None:
    attempt = shell.send(route(retry=PATIENT))
    names = [name_of(attempt)]
    for _ in range(4):
        attempt = shell.retried(attempt)
        names.append(name_of(attempt))
    assert len(set(names[:3])) == 3
    last = shell.fail(attempt, FailureKind.CONNECT_FAILURE, replayable=True)
    assert isinstance(last, Reject)
    assert last.reason is Reason.UPSTREAM_UNREACHABLE


def test_attempts_counts_the_first_one(shell: Shell) -> None:
    first = shell.send(route(retry=RetryPolicy(attempts=1)))
    assert isinstance(shell.fail(first, FailureKind.CONNECT_FAILURE, replayable=True), Reject)


@pytest.mark.parametrize(
    ("kind", "reason", "status"),
    [
        (FailureKind.CONNECT_FAILURE, Reason.UPSTREAM_UNREACHABLE, 502),
        (FailureKind.RESET, Reason.UPSTREAM_RESET, 502),
        (FailureKind.STALE_CONNECTION, Reason.UPSTREAM_RESET, 502),
        (FailureKind.TIMEOUT, Reason.UPSTREAM_TIMEOUT, 504),
    ],
)
def test_what_is_not_tried_again_is_told_by_kind(shell: Shell, kind: FailureKind, reason: Reason, status: int) -> None:
    refusal = shell.fail(shell.send(route()), kind, replayable=False)
    assert isinstance(refusal, Reject)
    assert (refusal.reason, refusal.status) == (reason, status)


def test_a_connect_failure_of_a_post_is_tried_again_and_a_reset_is_not(shell: Shell) -> None:
    again = shell.retried(shell.send(route(), facts("POST")), FailureKind.CONNECT_FAILURE)
    refusal = shell.fail(again, FailureKind.RESET, replayable=True)
    assert isinstance(refusal, Reject)


def test_a_status_is_tried_again_elsewhere(shell: Shell) -> None:
    first = shell.send(route(retry=RetryPolicy(on_statuses=frozenset({503}))))
    decision = shell.head(first, 503)
    assert isinstance(decision, Send)
    assert name_of(decision.attempt) != name_of(first)
    shell.answer(decision.attempt)
    assert shell.core.counters.retries == 1


def test_the_last_response_is_delivered_though_it_could_be_tried_again(shell: Shell) -> None:
    first = shell.send(route(retry=RetryPolicy(attempts=2, on_statuses=frozenset({503}))))
    decision = shell.head(first, 503)
    assert isinstance(decision, Send)
    assert isinstance(shell.head(decision.attempt, 503), Deliver)


@pytest.mark.parametrize("kind", list(FailureKind))
def test_nothing_is_tried_again_after_the_head_went_out(shell: Shell, kind: FailureKind) -> None:
    """Whatever the shell calls what happened then."""
    attempt = shell.send(route(retry=RetryPolicy(attempts=5, on_failures=frozenset(FailureKind))))
    shell.head(attempt)
    assert isinstance(shell.fail(attempt, kind, replayable=True), Broken)
    assert shell.core.counters.retries == 0


def test_a_retry_leaves_a_backend_whose_only_instance_was_tried() -> None:
    shell = Shell()
    shell.view(instance("stable"))
    shell.view(instance("canary", service="canary"), service="canary")
    split = route("r", Backend("canary", 1), Backend("orders", 1))
    shell.routes(split)
    first = shell.send(split)
    assert name_of(first) == "canary"
    assert name_of(shell.retried(first)) == "stable"


def test_a_retry_stays_with_a_backend_that_has_another_instance() -> None:
    shell = Shell()
    shell.view(instance("stable"))
    shell.view(instance("canary1", service="canary"), instance("canary2", service="canary"), service="canary")
    split = route("r", Backend("canary", 1), Backend("orders", 1))
    shell.routes(split)
    for _ in range(4):
        first = shell.send(split)
        if first.instance.service == "canary":
            again = shell.retried(first)
            assert again.instance.service == "canary"
            assert name_of(again) != name_of(first)
            shell.answer(again)
        else:
            shell.answer(first)


def test_a_retry_goes_to_the_backend_left_when_its_own_has_emptied() -> None:
    shell = Shell()
    shell.view(instance("a"))
    shell.view(instance("s", service="stock"), service="stock")
    split = route("r", "orders", "stock")
    shell.routes(split)
    first = shell.send(split)
    shell.view()
    assert name_of(shell.retried(first)) == "s"


def test_a_backend_that_was_tried_is_tried_again_when_the_other_has_emptied() -> None:
    shell = Shell()
    shell.view(instance("a"))
    shell.view(instance("s", service="stock"), service="stock")
    split = route("r", "orders", "stock")
    shell.routes(split)
    second = shell.retried(shell.send(split))
    assert name_of(second) == "s"
    shell.view(service="stock")
    assert name_of(shell.retried(second)) == "a"


def test_without_anybody_left_the_failure_is_told() -> None:
    shell = Shell()
    shell.view(instance("a"))
    first = shell.send(route())
    shell.view()
    refusal = shell.fail(first, FailureKind.RESET, replayable=True)
    assert isinstance(refusal, Reject)
    assert refusal.reason is Reason.UPSTREAM_RESET


def test_retries_do_not_disturb_the_turns_of_first_attempts(shell: Shell) -> None:
    shell.policies(replace(policy(circuit=STEADY), retry_budget=RetryBudget(ratio=4.0)))
    shell.view(instance("a", 5), instance("b", 3), instance("c", 2))
    quiet = Shell()
    quiet.view(instance("a", 5), instance("b", 3), instance("c", 2))
    firsts = []
    for step in range(200):
        attempt = shell.send(route(retry=PATIENT))
        firsts.append(name_of(attempt))
        for _ in range(step % 4):
            attempt = shell.retried(attempt)
        shell.answer(attempt)
    assert firsts == quiet.picks(route(), 200)


def test_retries_are_shared_out_by_weight(shell: Shell) -> None:
    shell.policies(
        policy(circuit=STEADY),
    )
    shell.view(instance("a", 1), instance("b", 3), instance("c", 1))
    took = [
        name_of(shell.retried(first)) for first in (shell.send(route()) for _ in range(100)) if name_of(first) == "a"
    ]
    assert took.count("b") == 3 * took.count("c")


# --- the budget ---


def allowed(budget: Budget, policy: RetryBudget, now: float, most: int = 100_000) -> int:
    count = 0
    while count < most and budget.allows(policy, now):
        budget.count_retry(now)
        count += 1
    return count


def test_the_budget_is_a_fifth_of_the_requests_of_ten_seconds() -> None:
    budget = Budget()
    for step in range(10_000):
        budget.count_request(50.0 + step * 0.0009)
    assert allowed(budget, RetryBudget(), 59.0) == 2000


def test_the_budget_is_at_least_ten_a_second() -> None:
    budget = Budget()
    assert allowed(budget, RetryBudget(), 59.0) == 100
    assert allowed(budget, RetryBudget(), 68.9) == 0
    assert allowed(budget, RetryBudget(), 69.0) == 100


def test_a_budget_of_nothing_allows_nothing() -> None:
    budget = Budget()
    budget.count_request(5.0)
    assert allowed(budget, RetryBudget(ratio=0.0, min_per_second=0.0), 5.0) == 0


def test_requests_count_for_ten_seconds() -> None:
    lean = RetryBudget(ratio=0.2, min_per_second=0.0)
    budget = Budget()
    for _ in range(100):
        budget.count_request(20.5)
    assert budget.allows(lean, 29.99)
    assert not budget.allows(lean, 30.0)


@given(st.lists(st.tuples(st.floats(0.0, 40.0), st.booleans()), max_size=60))
def test_the_budget_counts_what_happened_in_its_seconds(events: list[tuple[float, bool]]) -> None:
    budget = Budget()
    times: list[tuple[float, bool]] = []
    now = 1000.0
    for step, is_retry in events:
        now += step
        (budget.count_retry if is_retry else budget.count_request)(now)
        times.append((now, is_retry))
    inside = [is_retry for when, is_retry in times if int(now) - int(when) < 10]
    assert (budget.retries, budget.requests) == (sum(inside), len(inside) - sum(inside))


def test_a_denied_retry_tells_the_failure_and_is_counted(shell: Shell) -> None:
    shell.policies(replace(policy(circuit=STEADY), retry_budget=RetryBudget(ratio=0.0, min_per_second=0.1)))
    shell.answer(shell.retried(shell.send(route())))
    refusal = shell.fail(shell.send(route()), FailureKind.CONNECT_FAILURE, replayable=True)
    assert isinstance(refusal, Reject)
    assert refusal.reason is Reason.UPSTREAM_UNREACHABLE
    counters = shell.core.counters
    assert (counters.retries, counters.retries_denied) == (1, 1)


def test_a_retry_that_finds_no_place_in_the_queue_costs_no_budget() -> None:
    shell = Shell()
    shell.view(instance("a"), instance("b"))
    shell.policies(replace(policy(cap=1, circuit=STEADY), retry_budget=RetryBudget(ratio=0.0, min_per_second=0.1)))
    crowded = route(limits=Limits(queue=0))
    flying = {name_of(each): each for each in (shell.send(crowded) for _ in range(2))}
    assert isinstance(shell.fail(flying["a"], FailureKind.CONNECT_FAILURE, replayable=True), Reject)
    assert [view.in_flight for view in shell.core.circuits()] == [0, 1]
    assert [load.in_flight for load in shell.core.loads()] == [1]
    shell.answer(flying["b"])
    shell.retried(shell.send(crowded))


def test_a_response_whose_retry_finds_no_place_in_the_queue_is_delivered() -> None:
    shell = Shell()
    shell.view(instance("a"), instance("b"))
    shell.policies(policy(cap=1, circuit=STEADY))
    crowded = route(limits=Limits(queue=0), retry=RetryPolicy(on_statuses=frozenset({503})))
    flying = {name_of(each): each for each in (shell.send(crowded) for _ in range(2))}
    assert isinstance(shell.head(flying["a"], 503), Deliver)
    assert [view.in_flight for view in shell.core.circuits()] == [1, 1]
    shell.end(flying["a"])
    assert [view.in_flight for view in shell.core.circuits()] == [0, 1]


def test_one_of_three_instances_dies_with_everything_in_flight() -> None:
    """The case the budget is made for: a third of 64 in flight fails at once, and none is lost."""
    shell = Shell()
    shell.view(instance("a"), instance("b"), instance("c"))
    shell.policies(policy(circuit=CircuitPolicy(consecutive_failures=5)))
    for _ in range(200):
        shell.answer(shell.send(route()))
    flying = [shell.send(route()) for _ in range(64)]
    for attempt in flying:
        shell.answer(shell.retried(attempt, FailureKind.RESET) if name_of(attempt) == "a" else attempt)
    assert shell.states() == {"a": "open", "b": "closed", "c": "closed"}


def test_a_queued_retry_whose_time_is_up_is_rejected() -> None:
    shell = Shell()
    shell.view(instance("a"), instance("b"))
    shell.policies(policy(cap=1, circuit=STEADY))
    flying = {name_of(each): each for each in (shell.send(route()) for _ in range(2))}
    waiting = shell.fail(flying["a"], FailureKind.RESET, replayable=True)
    assert isinstance(waiting, Wait)
    shell.wait(1.0)
    assert shell.woken_reason(waiting.ticket) is Reason.QUEUE_TIMEOUT
    assert shell.circuit("a").in_flight == 0
