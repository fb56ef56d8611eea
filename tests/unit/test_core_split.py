"""How a route's requests are shared among its backends, whatever becomes of these."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.model import Backend, CircuitPolicy, Health, Limits, Reason, WhenEmpty
from tests.unit.core_support import Shell, instance, policy, route, sick

NINE_TO_ONE = route("r", Backend("orders", 9), Backend("stock", 1))


@pytest.fixture
def shell() -> Shell:
    shell = Shell()
    shell.view(instance("a"))
    shell.view(instance("s", service="stock"), service="stock")
    shell.routes(NINE_TO_ONE)
    return shell


def test_backends_share_by_weight(shell: Shell) -> None:
    seen = shell.picks(NINE_TO_ONE, 1000)
    assert seen.count("s") == 100
    assert ["s", "s"] not in [seen[step : step + 2] for step in range(999)]


def test_a_backend_with_nothing_to_pick_gives_its_share_to_the_others(shell: Shell) -> None:
    shell.view()
    assert shell.shares(NINE_TO_ONE, 10) == {"s": 10}
    shell.view(instance("a"))
    shell.shares(NINE_TO_ONE, 10)
    assert shell.shares(NINE_TO_ONE, 100) == {"a": 90, "s": 10}


def test_a_backend_whose_circuits_are_open_gives_its_share_to_the_others(shell: Shell) -> None:
    shell.trip(NINE_TO_ONE, "a")
    assert shell.shares(NINE_TO_ONE, 10) == {"s": 10}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_backend_of_weight_0_takes_nothing_even_when_it_is_the_only_one_left(order: tuple[int, int]) -> None:
    backends = [Backend("orders", 0), Backend("stock", 1)]
    parked = route("r", backends[order[0]], backends[order[1]])
    shell = Shell()
    shell.view(instance("a"))
    shell.view(instance("s", service="stock"), service="stock")
    shell.routes(parked)
    assert shell.shares(parked, 20) == {"s": 20}
    shell.view(service="stock")
    assert shell.refused(parked).reason is Reason.NO_HEALTHY_INSTANCE


def test_open_circuits_speak_for_a_route_without_anybody(shell: Shell) -> None:
    shell.view()
    shell.trip(NINE_TO_ONE, "s")
    refusal = shell.refused(NINE_TO_ONE)
    assert refusal.reason is Reason.CIRCUIT_OPEN
    assert refusal.retry_after == shell.circuit("s").open_until - shell.now  # type: ignore[operator]


def test_two_shares_of_one_service_by_tags() -> None:
    shell = Shell()
    shell.view(instance("old", tags=["stable"]), instance("new", tags=["canary", "stable2"]))
    split = route("r", Backend("orders", 9, frozenset({"stable"})), Backend("orders", 1, frozenset({"canary"})))
    shell.routes(split)
    assert shell.shares(split, 100) == {"old": 90, "new": 10}


def test_a_backend_selects_by_metadata() -> None:
    shell = Shell()
    shell.view(instance("eu", meta={"region": "eu", "rack": "1"}), instance("us", meta={"region": "us"}))
    european = route("r", Backend("orders", meta=(("region", "eu"),)))
    assert shell.shares(european, 10) == {"eu": 10}
    shell.view(instance("us", meta={"region": "us"}))
    assert shell.refused(european).reason is Reason.NO_HEALTHY_INSTANCE


def test_backends_that_differ_in_weight_alone_share_their_turns() -> None:
    shell = Shell()
    shell.view(instance("a", 3), instance("b", 1))
    twice = route("r", Backend("orders", 1), Backend("orders", 5))
    shell.routes(twice)
    assert shell.shares(twice, 40) == {"a": 30, "b": 10}


def test_edits_of_other_routes_do_not_begin_the_turns_anew(shell: Shell) -> None:
    """Else a light backend would starve where edits come more often than its turns."""
    seen = []
    for version in range(200):
        shell.routes(NINE_TO_ONE, route("other", version=version))
        seen += shell.picks(NINE_TO_ONE, 2)
    assert seen.count("s") == 40


def test_an_edit_of_something_else_in_the_route_does_not_begin_the_turns_anew(shell: Shell) -> None:
    seen = []
    for version in range(200):
        edited = replace(NINE_TO_ONE, version=version, limits=Limits(queue=version))
        shell.routes(edited)
        seen += shell.picks(edited, 2)
    assert seen.count("s") == 40


def test_new_weights_are_in_force_at_once(shell: Shell) -> None:
    even = route("r", Backend("orders", 1), Backend("stock", 1))
    shell.shares(NINE_TO_ONE, 5)
    shell.routes(even)
    assert shell.shares(even, 100) == {"a": 50, "s": 50}


def test_new_panic_is_in_force_at_once(shell: Shell) -> None:
    shell.view(sick(instance("a")))
    only = route("only")
    shell.routes(only)
    assert shell.refused(only).reason is Reason.NO_HEALTHY_INSTANCE
    brave = replace(only, version=2, when_empty=WhenEmpty(panic=Health.CRITICAL))
    shell.routes(brave)
    assert shell.shares(brave, 3) == {"a": 3}


def test_forgetting_one_service_leaves_other_routes_turns(shell: Shell) -> None:
    shell.view(instance("x", service="third"), service="third")
    seen = []
    for _ in range(100):
        shell.forget("third")
        seen += shell.picks(NINE_TO_ONE, 1)
    assert seen.count("s") == 10


def test_a_service_that_was_forgotten_and_comes_back_is_picked(shell: Shell) -> None:
    shell.forget("stock")
    assert shell.shares(NINE_TO_ONE, 5) == {"a": 5}
    shell.view(instance("s", service="stock"), service="stock")
    shell.picks(NINE_TO_ONE, 10)
    assert shell.shares(NINE_TO_ONE, 100) == {"a": 90, "s": 10}


def test_with_many_backends_that_flap_the_memory_stays() -> None:
    shell = Shell()
    names = [f"s{number}" for number in range(12)]
    for name in names:
        shell.view(instance(name, service=name), service=name)
    wide = route("r", *names)
    shell.routes(wide)
    for step in range(300):
        for bit, name in enumerate(names):
            shell.view(*([instance(name, service=name)] if step >> bit % 8 & 1 or bit == 0 else []), service=name)
        shell.picks(wide, 1)
    split = shell.core._routes._splits["r"]
    assert len(split._turns._leads) <= len(names)


def test_probes_are_tried_though_another_backend_is_there(shell: Shell) -> None:
    shell.policies(policy(circuit=CircuitPolicy(open_for=1.0)))
    shell.trip(NINE_TO_ONE, "a")
    shell.wait(2.0)
    shell.shares(NINE_TO_ONE, 2)
    assert shell.states()["a"] == "closed"
