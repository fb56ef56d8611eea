"""A core made from a checkpoint decides as the one it was taken of; a damaged one is refused, and runs nothing."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from gateway.core.breaker import CircuitState
from gateway.core.events import Action, Event
from gateway.core.gateway import Gateway
from gateway.core.model import Balance, BalancePolicy, HashOn, HashSource
from gateway.core.tickets import TicketState
from gateway.journal import checkpoint
from gateway.journal.checkpoint import CheckpointError
from gateway.journal.lines import CHECKPOINT
from gateway.journal.replay import ReplayError
from tests.spec.simulation import Simulation, events, line
from tests.unit.core_support import STEADY, Shell, compile_regex, facts, instance, policy, route
from tests.unit.journal_support import lines_of, made_again

AFTER = 400
"""Events that are decided again from each checkpoint."""


def plain(core: Gateway) -> Any:  # noqa: ANN401 - JSON
    return json.loads(msgspec.json.encode(checkpoint.take(core)))


def without_order(node: Any) -> Any:  # noqa: ANN401 - JSON
    """A leaf by its characters alone, since there are sets in it; any other node as it is."""
    if isinstance(node, list) and len(node) == 2 and isinstance(node[1], dict):
        return [node[0], sorted(json.dumps(node[1]))]
    return node


def restored(state: object) -> Gateway:
    return checkpoint.restore(
        state, compile_regex=compile_regex, draw=lambda: 0.5, facts=facts, trace=lambda event: None
    )


def a_busy_core() -> Gateway:
    """With requests in flight and in queues, and a half-open circuit."""
    simulation = Simulation(4, lambda event: None, rate=80.0)
    for _ in range(300):
        simulation.run(20)
        queued = any(ticket.state is TicketState.QUEUED for ticket in simulation.live.values())
        if queued and any(view.state is CircuitState.HALF_OPEN for view in simulation.core.circuits()):
            return simulation.core
    raise AssertionError("this seed is not busy enough")


def test_from_any_point_on_the_decisions_are_the_same() -> None:
    seen: Counter[str] = Counter()

    def look(core: Gateway) -> None:
        live = core.traced_tickets.values()
        seen["queued"] += any(ticket.state is TicketState.QUEUED for ticket in live)
        seen["retry queued"] += any(ticket.state is TicketState.QUEUED and bool(ticket.tried) for ticket in live)
        seen["probe out"] += any(ticket.attempt is not None and ticket.attempt.permit.probe for ticket in live)
        seen["open"] += any(view.state is CircuitState.OPEN for view in core.circuits())
        balances = [policy.balance.policy for policy in core.policies.values()]
        seen["ring hash"] += BalancePolicy.RING_HASH in balances
        seen["least request"] += BalancePolicy.LEAST_REQUEST in balances
        seen["slow start"] += any(policy.slow_start > 0 for policy in core.policies.values())

    for seed in (31, 32, 33):
        lines = lines_of(seed, 5000, every=200, look=look)
        starts = [at for at, each in enumerate(lines) if each.action == CHECKPOINT]
        assert len(starts) == 24
        for start in starts:
            steps = made_again(lines[start : start + AFTER])
            assert len(steps) >= min(AFTER, len(lines) - start) - 3
            assert not [step for step in steps if step.difference is not None]
    for what in ("queued", "retry queued", "probe out", "open", "ring hash", "least request", "slow start"):
        assert seen[what], f"no checkpoint has {what}"


def test_taking_one_leaves_the_core_as_it_was() -> None:
    told: list[bytes] = []
    simulation = Simulation(9, lambda event: told.append(line(0, event)))
    for _ in range(30):
        simulation.run(100)
        checkpoint.take(simulation.core)
    assert told == [line(0, event) for event in events(9, 3000)]


def test_a_checkpoint_of_a_restored_core_is_the_same_again() -> None:
    state = plain(a_busy_core())
    nodes, again = state["nodes"], plain(restored(state))["nodes"]
    assert [without_order(node) for node in again] == [without_order(node) for node in nodes]


def test_a_restored_core_tells_what_it_asks_of_a_request_that_came_before() -> None:
    told: list[Event] = []
    shell = Shell(trace=lambda event: None)
    balance = Balance(BalancePolicy.RING_HASH, HashOn(HashSource.CLIENT_IP))
    shell.policies(policy(balance=balance, circuit=STEADY, cap=1))
    shell.routes(route())
    shell.view(instance("a"))
    shell.send(route())
    shell.queued(route())
    core = checkpoint.restore(
        plain(shell.core), compile_regex=compile_regex, draw=lambda: 0.5, facts=facts, trace=told.append
    )
    core.apply_view("orders", [instance("a"), instance("b")], shell.now)
    (dequeued,) = [event for event in told if event.action is Action.DEQUEUE]
    assert isinstance(dequeued.inputs["hash"], int)


def test_it_holds_each_thing_once() -> None:
    """A core with thousands of requests waiting, whose graph is deep, is taken without recursion."""
    simulation = Simulation(2, lambda event: None)
    core = simulation.core
    simulation.run(500)
    before = len(plain(core)["nodes"])
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    core._services.policies = {"deep": deep}  # type: ignore[dict-item] # no policy, but a long way down
    assert len(plain(core)["nodes"]) > before + 4900


def kind_of(nodes: list[list[Any]], kind: str) -> list[Any]:
    return next(node for node in nodes if node[0] == kind)


def set_node(kind: str, to: object) -> Callable[[Any], None]:
    def change(state: Any) -> None:  # noqa: ANN401 - JSON
        nodes = state["nodes"]
        nodes[nodes.index(kind_of(nodes, kind))] = to

    return change


def set_part(kind: str, place: int, to: object) -> Callable[[Any], None]:
    def change(state: Any) -> None:  # noqa: ANN401 - JSON
        kind_of(state["nodes"], kind)[place] = to

    return change


def nest(state: Any) -> None:  # noqa: ANN401 - JSON
    nodes = state["nodes"]
    first = len(nodes)
    nodes.extend(["tuple", "tuple", [first + depth + 1]] for depth in range(5000))
    nodes.append(["tuple", "tuple"])
    kind_of(nodes, "list").append([first])


def contain_itself(state: Any) -> None:  # noqa: ANN401 - JSON
    nodes = state["nodes"]
    nodes.append(["tuple", "tuple", [len(nodes)]])
    kind_of(nodes, "list").append([len(nodes) - 1])


DAMAGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "no nodes": (lambda state: state.update(nodes=[]), "it has no nodes"),
    "other attributes": (lambda state: state["attributes"]["Pool"].append("x"), "another version wrote it"),
    "a class left out": (lambda state: state["attributes"].pop("Circuit"), "another version wrote it"),
    "no core first": (lambda state: state["nodes"].__setitem__(0, ["tuple", "tuple", 1, 2]), "node 0 is not a core"),
    "a node that is none": (set_node("Circuit", 7), "node "),
    "an empty node": (set_node("Circuit", []), "node "),
    "an unknown kind": (set_node("Circuit", ["Popen", "true"]), "of no known kind: 'Popen'"),
    "a kind that is a list": (set_node("Circuit", [["Circuit"]]), "node "),
    "a class made with arguments": (set_node("named", ["named", "RingHash", [0], [0]]), "no class that may stand here"),
    "a class from elsewhere": (set_part("named", 1, "Path"), "no class that may stand here"),
    "too few values": (set_node("named", ["named", "InstanceKey", "dc1"]), "node "),
    "an enumeration from elsewhere": (set_part("enum", 1, "Circuit"), "no class that may stand here"),
    "a member it does not have": (set_part("enum", 2, "AJAR"), "node "),
    "a step that is none": (set_part("step", 2, "__class__"), "no step is called '__class__'"),
    "a step of what has none": (set_part("step", 1, "x"), "node "),
    "a node beyond the last": (set_part("Member", 1, [10**9]), "there is no node 1000000000"),
    "a node before the first": (set_part("Member", 1, [-1]), "there is no node -1"),
    "a node called true": (set_part("Member", 1, [True]), "there is no node True"),
    "two numbers": (set_part("Member", 1, [1, 2]), "node "),
    "a value too many": (lambda state: kind_of(state["nodes"], "Circuit").append(1), "node "),
    "a value too few": (lambda state: kind_of(state["nodes"], "Circuit").pop(), "node "),
    "an instance without a key": (lambda state: kind_of(state["nodes"], "Instance")[1].pop("key"), "node "),
    "a policy of another type": (
        lambda state: kind_of(state["nodes"], "ServicePolicy")[1].update(circuit=3),
        "node ",
    ),
    "a method that is no text": (set_part("Ticket", 4, 5), "'?5'? stands where a str belongs"),
    "a number of a ticket that is none": (set_part("Ticket", 6, {}), "stands where a int belongs|int object expected"),
    "a pool without candidates": (set_part("Pool", 1, None), "node "),
    "unhashable": (lambda state: kind_of(state["nodes"], "dict").append([[0, 0], 1]), "node "),
    "a tuple that contains itself": (
        contain_itself,
        "contains itself",
    ),
    "a chain without end": (nest, "node "),
}


@pytest.fixture(scope="module")
def busy() -> Any:  # noqa: ANN401 - JSON
    return plain(a_busy_core())


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_refused(name: str, busy: Any) -> None:  # noqa: ANN401 - JSON
    change, message = DAMAGES[name]
    state = copy.deepcopy(busy)
    change(state)
    with pytest.raises(CheckpointError, match=message):
        restored(state)


@pytest.mark.parametrize("state", [None, [], {}, "x", {"nodes": {}}, {"nodes": [[]]}])
def test_what_is_no_checkpoint_is_refused(state: object) -> None:
    with pytest.raises(CheckpointError):
        restored(state)


def test_random_damage_is_refused_or_found_out() -> None:
    """Nothing but our own errors comes of it, when it is restored and when events are decided again with it."""
    lines = lines_of(8, 700, every=300)
    start = next(at for at, each in enumerate(lines) if each.action == CHECKPOINT)
    whole, after = lines[start], lines[start + 1 : start + 80]
    assert all(step.difference is None for step in made_again([whole, *after]))
    dice = random.Random(1)
    junk: Sequence[object] = (None, True, -1, 0, 10**9, 0.5, "x", [0], [1], [-1], [[]], {}, [10**6])
    refused = 0
    for _ in range(400):
        state = copy.deepcopy(whole.state)
        node = dice.choice(state["nodes"][1:])
        node[dice.randrange(len(node))] = dice.choice(junk)
        try:
            made_again([msgspec.structs.replace(whole, state=state), *after])
        except ReplayError:
            refused += 1
    assert refused > 200
