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
    HashOn,
    HashSource,
    Health,
    Instance,
    Reason,
    WhenEmpty,
)
from gateway.core.tickets import Send
from tests.unit.core_support import ONE_STRIKE, STEADY, Shell, draws, instance, name_of, policy, route, shell_with, sick

BY_CLIENT = Balance(BalancePolicy.RING_HASH, HashOn(HashSource.CLIENT_IP))


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
def test_who_may_not_be_picked(gone: Instance) -> None:
    shell = shell_with(gone, instance("b"))
    assert shell.shares(route(), 10) == {"b": 10}
    shell.view(gone)
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
