"""What the core makes of a request that says which instances it may go to, and which rather."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from gateway.core.model import Backend, FailureKind, Limits, Reason, RetryPolicy, Route
from gateway.core.pool import MAX_POOLS
from gateway.core.serving import Serving, Steering
from gateway.core.tickets import Reject, Send, Wait
from tests.unit.core_support import STEADY, Shell, instance, key, name_of, policy, route, shell_with, sick

ONLY = route("r", Backend("orders", instances="true"))
ELSE_ANY = route("r", Backend("orders", instances="true", any_otherwise=True))


def only(*names: str, preferred: Iterable[str] = ()) -> Steering:
    return Steering((Serving(frozenset(map(key, names)), frozenset(map(key, preferred))),))


def rather(*names: str) -> Steering:
    return Steering((Serving(None, frozenset(map(key, names))),))


def picked(shell: Shell, route: Route, steering: Steering) -> str:
    decision = shell.request(route, steering=steering)
    assert isinstance(decision, Send), decision
    shell.answer(decision.attempt)
    return name_of(decision.attempt)


@pytest.fixture
def shell() -> Shell:
    shell = shell_with(instance("a", 3), instance("b", 1), instance("c", 2))
    shell.routes(ONLY)
    return shell


def test_each_set_of_instances_has_exact_shares_of_its_own(shell: Shell) -> None:
    sets = {"ab": only("a", "b"), "bc": only("b", "c"), "abc": only("a", "b", "c")}
    seen = {name: Counter[str]() for name in sets}
    for step in range(1200):
        name = ("ab", "bc", "abc")[step % 3]
        seen[name][picked(shell, ONLY, sets[name])] += 1
    assert seen == {"ab": {"a": 300, "b": 100}, "bc": {"b": 133, "c": 267}, "abc": {"a": 200, "b": 67, "c": 133}}


def test_what_joins_or_leaves_does_not_begin_the_turns_anew() -> None:
    shell = shell_with(instance("a", 9), instance("b", 1), instance("z"))
    shell.routes(ONLY)
    seen: Counter[str] = Counter()
    for step in range(1000):
        # Another set every few picks: were each to begin with nothing owed, b would never have a turn.
        names = ("a", "b", "z") if step % 10 < 5 else ("a", "b")
        seen[picked(shell, ONLY, only(*names))] += 1
        if step % 5 == 4:
            shell.view(instance("a", 9), instance("b", 1), instance("z", step))
            shell.core._services.get("orders").steered.clear()
    assert seen["b"] > 40


def test_who_may_not_serve_is_never_picked_and_never_retried_on(shell: Shell) -> None:
    decision = shell.request(ONLY, steering=only("a", "b"))
    assert isinstance(decision, Send)
    again = shell.retried(decision.attempt)
    assert {name_of(decision.attempt), name_of(again)} == {"a", "b"}
    third = shell.retried(again)
    assert name_of(third) in {"a", "b"}


def test_nobody_to_serve_it_is_refused_at_once(shell: Shell) -> None:
    for steering in (only(), only("nobody")):
        decision = shell.request(ONLY, steering=steering)
        assert isinstance(decision, Reject)
        assert decision.reason is Reason.NO_HEALTHY_INSTANCE


def test_the_sick_and_the_removed_among_them_are_not_picked(shell: Shell) -> None:
    shell.view(instance("a", 3), sick(instance("b")), instance("c", 2))
    assert picked(shell, ONLY, only("a", "b")) == "a"
    shell.view(sick(instance("b")), instance("c", 2))
    assert isinstance(shell.request(ONLY, steering=only("a", "b")), Reject)


def test_otherwise_any_lets_the_rest_serve_where_none_of_them_can(shell: Shell) -> None:
    shell.routes(ELSE_ANY)
    assert picked(shell, ELSE_ANY, only("b")) == "b"
    shell.view(instance("a", 3), sick(instance("b")), instance("c", 2))
    assert {picked(shell, ELSE_ANY, only("b")) for _ in range(5)} == {"a", "c"}
    shell.view(instance("a", 3), instance("b"), instance("c", 2))
    assert picked(shell, ELSE_ANY, only("b")) == "b"


def test_a_retry_goes_to_the_rest_too_once_those_were_tried(shell: Shell) -> None:
    shell.routes(ELSE_ANY)
    decision = shell.request(ELSE_ANY, steering=only("b"))
    assert isinstance(decision, Send)
    assert name_of(shell.retried(decision.attempt)) in {"a", "c"}


def test_the_preferred_are_picked_while_any_of_them_can_be() -> None:
    preferring = route("r", Backend("orders", prefer="true"))
    shell = shell_with(instance("a"), instance("b"), instance("c"))
    shell.policies(policy(circuit=STEADY, cap=1))
    shell.routes(preferring)
    held = [shell.request(preferring, steering=rather("b")) for _ in range(3)]
    names = [name_of(each.attempt) for each in held if isinstance(each, Send)]
    assert names[0] == "b"
    assert sorted(names) == ["a", "b", "c"]
    assert isinstance(shell.request(preferring, steering=rather("b")), Wait)


def test_the_preferred_come_before_the_own_node() -> None:
    shell = shell_with(instance("a", node="n1"), instance("b", node="n2"), instance("c", node="n2"), prefer_node="n1")
    preferring = route("r", Backend("orders", prefer="true"))
    shell.routes(preferring)
    steering = Steering((Serving(None, frozenset({key("b", "n2"), key("c", "n2")})),))
    assert {picked(shell, preferring, steering) for _ in range(4)} == {"b", "c"}
    both = Steering((Serving(None, frozenset({key("a"), key("b", "n2")})),))
    assert {picked(shell, preferring, both) for _ in range(4)} == {"a"}


def test_a_retry_of_one_who_preferred_goes_to_others(shell: Shell) -> None:
    decision = shell.request(ONLY, steering=rather("b"))
    assert isinstance(decision, Send)
    assert name_of(decision.attempt) == "b"
    assert name_of(shell.retried(decision.attempt)) in {"a", "c"}


def test_those_who_wait_for_some_do_not_hold_up_those_who_wait_for_others() -> None:
    narrow = route("r", Backend("orders", instances="true"), limits=Limits(queue=10))
    shell = shell_with(instance("a"), instance("b"))
    shell.policies(policy(circuit=STEADY, cap=1))
    shell.routes(narrow)
    on_a, on_b = (shell.request(narrow, steering=only(name)) for name in "ab")
    assert isinstance(on_a, Send)
    assert isinstance(on_b, Send)
    for_a, for_b = (shell.request(narrow, steering=only(name)) for name in "ab")
    assert isinstance(for_a, Wait)
    assert isinstance(for_b, Wait)
    shell.answer(on_b.attempt)
    assert name_of(shell.woken_attempt(for_b.ticket)) == "b"
    assert for_a.ticket.id not in shell.woken
    shell.view(instance("b"))
    assert shell.woken_reason(for_a.ticket) is Reason.NO_HEALTHY_INSTANCE


def test_pools_for_what_requests_say_are_bounded_and_go_with_their_routes() -> None:
    names = [f"i{number}" for number in range(40)]
    shell = shell_with(*map(instance, names))
    shell.routes(ONLY)
    for one in names:
        for other in names:
            picked(shell, ONLY, only(one, other))
    steered = shell.core._services.get("orders").steered
    assert len(steered) == MAX_POOLS
    shell.routes(route("other", "stock"))
    assert not shell.core._services.get("orders").steered


# --- splits -------------------------------------------------------------------------------------------------------

WITH_FALLBACK = route("r", Backend("orders"), Backend("stock", 5, fallback=True))


@pytest.fixture
def two() -> Shell:
    shell = shell_with(instance("a"), instance("b"))
    shell.view(instance("s", service="stock"), service="stock")
    shell.routes(WITH_FALLBACK)
    return shell


def test_a_fallback_takes_requests_only_while_no_other_backend_can(two: Shell) -> None:
    assert "s" not in two.picks(WITH_FALLBACK, 10)
    two.view(sick(instance("a")), instance("b"))
    assert two.shares(WITH_FALLBACK, 10) == {"b": 10}
    two.view(sick(instance("a")), sick(instance("b")))
    assert two.shares(WITH_FALLBACK, 10) == {"s": 10}
    two.view(instance("a"))
    assert two.shares(WITH_FALLBACK, 10) == {"a": 10}


def test_open_circuits_make_way_for_the_fallback(two: Shell) -> None:
    two.trip(WITH_FALLBACK, "a")
    two.trip(WITH_FALLBACK, "b")
    assert two.shares(WITH_FALLBACK, 5) == {"s": 5}


def test_a_retry_goes_to_the_fallback_once_all_others_were_tried(two: Shell) -> None:
    patient = route("r", *WITH_FALLBACK.backends, retry=RetryPolicy(attempts=4))
    two.routes(patient)
    first = two.send(patient)
    second = two.retried(first)
    assert {name_of(first), name_of(second)} == {"a", "b"}
    assert name_of(two.retried(second)) == "s"


def test_who_is_held_by_a_backend_takes_no_turn_of_the_others() -> None:
    split = route("r", Backend("orders", 9, instances="true"), Backend("stock", 1))
    shell = shell_with(instance("a"))
    shell.view(instance("s", service="stock"), service="stock")
    shell.routes(split)
    everywhere = Steering((Serving(), Serving()))
    held = Steering((Serving(), Serving(None, frozenset({key("s")}))), 1)
    seen: Counter[str] = Counter()
    for _ in range(100):
        assert picked(shell, split, held) == "s"
        seen[picked(shell, split, everywhere)] += 1
    assert seen == {"a": 90, "s": 10}
    shell.view(service="stock")
    assert picked(shell, split, held) == "a"


def test_nobody_is_held_by_a_fallback_once_another_backend_can_take_the_request(two: Shell) -> None:
    held = Steering((Serving(), Serving(None, frozenset({key("s")}))), 1)
    assert picked(two, WITH_FALLBACK, held) in {"a", "b"}
    two.view()
    assert picked(two, WITH_FALLBACK, held) == "s"


def test_a_backend_without_anybody_for_this_request_gives_its_share_to_the_others() -> None:
    split = route("r", Backend("orders", 9, instances="true"), Backend("stock", 1))
    shell = shell_with(instance("a"))
    shell.view(instance("s", service="stock"), service="stock")
    shell.routes(split)
    nobody = Steering((Serving(frozenset()), Serving()))
    assert {picked(shell, split, nobody) for _ in range(5)} == {"s"}
    decision = shell.request(split, steering=nobody)
    assert isinstance(decision, Send)
    assert isinstance(shell.fail(decision.attempt, FailureKind.CONNECT_FAILURE, replayable=True), Send)
