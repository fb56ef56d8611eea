"""Which instances a backend may pick from, and which it picks: health, weights, nodes, panic, hashing, slow start."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.model import (
    Balance,
    BalancePolicy,
    CircuitPolicy,
    HashOn,
    HashSource,
    Health,
    Limits,
    Reason,
    WhenEmpty,
)
from gateway.core.tickets import Send
from tests.unit.core_support import STEADY, Shell, draws, facts, instance, name_of, policy, route, sick

ONE_STRIKE = CircuitPolicy(consecutive_failures=1, failure_ratio=0.0, open_for=10.0)
BY_CLIENT = Balance(BalancePolicy.RING_HASH, HashOn(HashSource.CLIENT_IP))


def shell_with(*instances: object, **options: object) -> Shell:
    shell = Shell(**options)  # type: ignore[arg-type]
    shell.view(*instances)  # type: ignore[arg-type]
    return shell


# --- health and weights ---


def test_ten_to_one_over_1100_requests() -> None:
    shell = shell_with(instance("heavy", 10), instance("light", 1))
    seen = shell.picks(route(), 1100)
    assert Counter(seen) == {"heavy": 1000, "light": 100}
    assert ("light", "light") not in pairwise(seen)


def test_ten_to_one_under_concurrency_and_endings_of_all_kinds() -> None:
    shell = shell_with(instance("heavy", 10), instance("light", 1))
    shell.policies(policy(circuit=STEADY))
    seen, flying = [], []
    for step in range(1100):
        attempt = shell.send(route())
        seen.append(name_of(attempt))
        flying.append(attempt)
        if len(flying) > 16:
            done = flying.pop(step * 7 % 16)
            (shell.answer, shell.fail, lambda each: shell.abandon(each.ticket))[step % 3](done)
    assert Counter(seen) == {"heavy": 1000, "light": 100}


def test_warning_has_its_own_weight() -> None:
    shell = shell_with(instance("a", 10, warning=1), instance("b", 1))
    shell.view(instance("a", 10, warning=1, health=Health.WARNING), instance("b", 1))
    assert shell.shares(route(), 100) == {"a": 50, "b": 50}


@pytest.mark.parametrize(
    "gone",
    [
        instance("a", health=Health.CRITICAL),
        instance("a", health=Health.MAINTENANCE),
        instance("a", 0),
        instance("a", warning=0, health=Health.WARNING),
    ],
    ids=["critical", "maintenance", "weight 0", "warning weight 0"],
)
def test_who_may_not_be_picked(gone: object) -> None:
    shell = shell_with(gone, instance("b"))
    assert shell.shares(route(), 10) == {"b": 10}
    shell.view(gone)  # type: ignore[arg-type]
    refusal = shell.refused(route())
    assert (refusal.reason, refusal.status) == (Reason.NO_HEALTHY_INSTANCE, 503)


def test_a_deregistered_instance_is_never_picked_again() -> None:
    shell = shell_with(instance("a"), instance("b"))
    flying = [shell.send(route()) for _ in range(4)]
    shell.view(instance("b"))
    assert shell.shares(route(), 10) == {"b": 10}
    for attempt in flying:
        shell.answer(attempt)
    assert shell.shares(route(), 10) == {"b": 10}


def test_a_service_never_heard_of_has_no_instance() -> None:
    assert Shell().refused(route()).reason is Reason.NO_HEALTHY_INSTANCE


def test_when_empty_chooses_status_and_time() -> None:
    refusal = Shell().refused(route(when_empty=WhenEmpty(status=404, retry_after=2.5)))
    assert (refusal.status, refusal.retry_after) == (404, 2.5)


def test_shares_are_exact_though_the_same_view_arrives_again_and_again() -> None:
    shell = shell_with(instance("a", 3), instance("b", 1))
    seen = []
    for _ in range(100):
        shell.view(instance("a", 3), instance("b", 1))
        seen += shell.picks(route(), 1)
    assert Counter(seen) == {"a": 75, "b": 25}


def test_a_light_instance_does_not_starve_while_a_heavy_one_flaps() -> None:
    heavy, light = instance("heavy", 9), instance("light", 1)
    shell = shell_with(heavy, light, instance("middle", 5))
    seen = []
    for _ in range(100):
        shell.view(sick(heavy), light, instance("middle", 5))
        seen += shell.picks(route(), 1)
        shell.view(heavy, light, instance("middle", 5))
        seen += shell.picks(route(), 1)
    assert abs(seen.count("light") - 100 * (1 / 6 + 1 / 15)) < 2


@given(
    weights=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    flaps=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(Health)), st.integers(1, 7)), max_size=25),
)
@settings(max_examples=60, deadline=None)
def test_shares_are_exact_one_round_after_the_last_flap(
    weights: list[int], flaps: list[tuple[int, Health, int]]
) -> None:
    names = "abcdef"[: len(weights)]
    content = {name: instance(name, weight) for name, weight in zip(names, weights, strict=True)}
    shell = shell_with(*content.values())
    panicking = route(when_empty=WhenEmpty(panic=Health.CRITICAL))
    for which, health, count in flaps:
        name = names[which % len(names)]
        content[name] = sick(content[name], health)
        shell.view(*content.values())
        for _ in range(count):
            decision = shell.request(panicking)
            if isinstance(decision, Send):
                shell.answer(decision.attempt)
    shell.view(*[sick(each, Health.PASSING) for each in content.values()])
    total = sum(weights)
    shell.picks(panicking, total)
    for _ in range(2):
        assert shell.shares(panicking, total) == dict(zip(names, weights, strict=True))


# --- panic ---


@pytest.mark.parametrize(
    ("panic", "picked"),
    [(None, set()), (Health.WARNING, {"warning"}), (Health.CRITICAL, {"warning", "critical"})],
)
def test_panic_lets_sicker_ones_be_picked_but_never_into_maintenance(panic: Health | None, picked: set[str]) -> None:
    shell = shell_with(
        instance("none", 0),
        instance("warning", warning=0, health=Health.WARNING),
        instance("critical", health=Health.CRITICAL),
        instance("maintenance", health=Health.MAINTENANCE),
    )
    panicking = route(when_empty=WhenEmpty(panic=panic))
    if picked:
        assert set(shell.picks(panicking, 12)) == picked
    else:
        shell.refused(panicking)


def test_no_panic_while_somebody_is_well() -> None:
    shell = shell_with(instance("well"), instance("critical", health=Health.CRITICAL))
    assert shell.shares(route(when_empty=WhenEmpty(panic=Health.CRITICAL)), 10) == {"well": 10}


def test_panic_heeds_circuits() -> None:
    shell = shell_with(instance("a", health=Health.CRITICAL))
    shell.policies(policy(circuit=ONE_STRIKE))
    panicking = route(when_empty=WhenEmpty(panic=Health.CRITICAL))
    shell.fail(shell.send(panicking))
    assert shell.refused(panicking).reason is Reason.CIRCUIT_OPEN


def test_routes_panic_each_for_itself() -> None:
    shell = shell_with(instance("a", health=Health.CRITICAL))
    assert shell.picks(route("brave", when_empty=WhenEmpty(panic=Health.CRITICAL)), 1) == ["a"]
    shell.refused(route("shy"))


# --- the sidecar's own node ---


def sidecar() -> Shell:
    return shell_with(
        instance("near", node="here"), instance("far1", node="there"), instance("far2", node="yonder"),
        prefer_node="here",
    )  # fmt: skip


def test_the_own_node_is_preferred() -> None:
    assert sidecar().shares(route(), 10) == {"near": 10}


def test_without_anybody_on_the_own_node_the_others_are_picked() -> None:
    shell = sidecar()
    shell.view(instance("near", node="here", health=Health.CRITICAL), instance("far1", node="there"))
    assert shell.shares(route(), 4) == {"far1": 4}
    shell.view(instance("near", node="here"), instance("far1", node="there"))
    assert shell.shares(route(), 4) == {"near": 4}


def test_a_retry_falls_back_to_other_nodes() -> None:
    shell = sidecar()
    first = shell.send(route())
    second = shell.retried(first)
    third = shell.retried(second)
    assert name_of(first) == "near"
    assert {name_of(second), name_of(third)} == {"far1", "far2"}


def test_a_busy_own_node_falls_back_to_other_nodes() -> None:
    shell = sidecar()
    shell.policies(policy(cap=1))
    assert name_of(shell.send(route())) == "near"
    assert {name_of(shell.send(route())) for _ in range(2)} == {"far1", "far2"}
    assert all(view.in_flight == 1 for view in shell.core.circuits())


def test_an_open_circuit_on_the_own_node_falls_back_to_other_nodes() -> None:
    shell = sidecar()
    shell.policies(policy(circuit=ONE_STRIKE))
    shell.fail(shell.send(route()))
    assert shell.shares(route(), 10) == {"far1": 5, "far2": 5}


def test_the_own_node_may_become_known_later() -> None:
    shell = shell_with(instance("near", node="here"), instance("far", node="there"))
    shell.shares(route(), 4)
    shell.core.prefer("here", shell.now)
    assert shell.shares(route(), 4) == {"near": 4}


# --- least request ---


def test_least_request_prefers_the_less_loaded() -> None:
    shell = shell_with(instance("a"), instance("b"), draw=draws(0.1, 0.9, 0.6, 0.4))
    shell.policies(policy(balance=Balance(BalancePolicy.LEAST_REQUEST)))
    hanging = shell.send(route())
    other = "b" if name_of(hanging) == "a" else "a"
    assert shell.shares(route(), 20) == {other: 20}


def test_least_request_evens_concurrent_requests_out() -> None:
    shell = shell_with(
        *[instance(f"i{number}") for number in range(4)], draw=draws(*[step * 0.618 % 1 for step in range(997)])
    )
    shell.policies(policy(balance=Balance(BalancePolicy.LEAST_REQUEST)))
    for _ in range(400):
        shell.send(route())
    loads = [view.in_flight for view in shell.core.circuits()]
    assert max(loads) - min(loads) <= 4


# --- ring hash ---


def clients(shell: Shell, count: int = 300) -> dict[str, str]:
    return {
        address: shell.picks(route(), 1, facts(client_ip=address))[0]
        for address in (f"192.0.2.{number}" for number in range(count))
    }


def test_a_client_stays_with_its_instance() -> None:
    shell = shell_with(*[instance(f"i{number}") for number in range(5)])
    shell.policies(policy(balance=BY_CLIENT))
    before = clients(shell)
    assert len(set(before.values())) == 5
    assert clients(shell) == before


@pytest.mark.parametrize("how", ["deregistered", "critical", "circuit", "busy"])
def test_only_the_share_of_one_that_leaves_moves(how: str) -> None:
    shell = shell_with(*[instance(f"i{number}") for number in range(5)])
    shell.policies(policy(balance=BY_CLIENT, cap=2 if how == "busy" else 0, circuit=ONE_STRIKE))
    before = clients(shell)
    owned = next(address for address, owner in before.items() if owner == "i0")
    others = [instance(f"i{number}") for number in range(1, 5)]
    if how == "deregistered":
        shell.view(*others)
    elif how == "critical":
        shell.view(instance("i0", health=Health.CRITICAL), *others)
    elif how == "circuit":
        shell.fail(shell.send(route(), facts(client_ip=owned)))
    else:
        assert {name_of(shell.send(route(), facts(client_ip=owned))) for _ in range(2)} == {"i0"}
    after = clients(shell)
    assert "i0" not in after.values()
    assert all(after[address] == owner for address, owner in before.items() if owner != "i0")


def test_a_hashed_retry_goes_elsewhere_and_its_client_comes_back() -> None:
    shell = shell_with(*[instance(f"i{number}") for number in range(5)])
    shell.policies(policy(balance=BY_CLIENT))
    first = shell.send(route(), facts(client_ip="192.0.2.7"))
    second = shell.retried(first)
    assert name_of(second) != name_of(first)
    shell.answer(second)
    assert shell.picks(route(), 1, facts(client_ip="192.0.2.7")) == [name_of(first)]


@pytest.mark.parametrize(
    ("on", "headers"),
    [
        (HashOn(HashSource.HEADER, "x-user"), [("X-User", "{}")]),
        (HashOn(HashSource.COOKIE, "session"), [("Cookie", "other=1; session={}")]),
    ],
)
def test_a_header_or_a_cookie_decides(on: HashOn, headers: list[tuple[str, str]]) -> None:
    shell = shell_with(*[instance(f"i{number}") for number in range(5)])
    shell.policies(policy(balance=Balance(BalancePolicy.RING_HASH, on)))

    def pick(user: int) -> str:
        return shell.picks(route(), 1, facts(headers=[(name, value.format(user)) for name, value in headers]))[0]

    first = [pick(user) for user in range(40)]
    assert len(set(first)) == 5
    assert [pick(user) for user in range(40)] == first


def test_a_request_without_what_is_hashed_takes_its_turn() -> None:
    shell = shell_with(instance("a"), instance("b"))
    shell.policies(policy(balance=Balance(BalancePolicy.RING_HASH, HashOn(HashSource.HEADER, "x-user"))))
    assert shell.shares(route(), 10) == {"a": 5, "b": 5}


def test_what_is_hashed_may_be_any_bytes() -> None:
    shell = shell_with(instance("a"), instance("b"))
    shell.policies(policy(balance=Balance(BalancePolicy.RING_HASH, HashOn(HashSource.HEADER, "x-user"))))
    shell.picks(route(), 1, facts(headers=[("x-user", "caf\udce9")]))


# --- slow start ---


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


# --- in flight at once, over a re-registration ---


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
