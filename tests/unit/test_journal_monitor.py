"""The monitor: silent while the core does as the specification says, and says what, where it does not.

Corrupted runs are those of `tests/spec/test_corrupted_traces.py`, which TLC refuses, as events instead of lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from gateway.core.events import Action, Event
from gateway.core.model import Backend, CircuitMode, CircuitPolicy, Health, Limits, RetryPolicy, WhenEmpty
from gateway.core.tickets import Send
from gateway.journal.account import Account
from gateway.journal.monitor import Monitor
from gateway.journal.properties import Property, Violation
from gateway.journal.violations import VIOLATED, Violations
from tests.spec.journals import a_good_run
from tests.spec.simulation import Simulation
from tests.spec.test_corrupted_traces import KINDS, Kind, decides, dropped, repeated, told
from tests.unit.core_support import Shell, facts, instance, no_jitter, on, policy, route, sick

P = Property
Journal = list[dict[str, Any]]
Corrupt = Callable[[Journal], None]


def violations(run: Sequence[Event], corrupt: Corrupt = lambda journal: None) -> Sequence[Violation]:
    """Numbers are places in the run, from 0 on. A tick at the end has the last call looked at too."""
    journal: Journal = [
        {**event._asdict(), "inputs": dict(event.inputs), "decision": dict(event.decision)} for event in run
    ]
    corrupt(journal)
    found: list[Violation] = []
    monitor = Monitor(found.append)
    for seq, fields in enumerate(journal):
        monitor(seq, Event(**fields))
    monitor(len(journal), Event(0.0, Action.TICK, {}, (), {}))
    return found


@pytest.mark.parametrize(
    ("seed", "shared"), [(61, False), (62, False), (63, False), (64, False), (65, True), (66, True)]
)
def test_it_is_silent_over_runs_that_are_right(seed: int, shared: bool) -> None:
    found: list[Violation] = []
    monitor = Monitor(found.append)
    seq = 0

    def tell(event: Event) -> None:
        nonlocal seq
        seq += 1
        monitor(seq, event)

    Simulation(seed, tell, size=4, shared=shared).run(6000)
    assert seq > 6000
    assert found == []


def test_its_memory_is_that_of_what_is_live() -> None:
    monitor = Monitor(lambda violation: pytest.fail(str(violation)))
    simulation = Simulation(65, lambda event: monitor(0, event))
    account = monitor._account
    for _ in range(10):
        simulation.run(500)
        assert account.tickets.keys() == simulation.live.keys()
        mirrored = simulation.core.services()
        assert {name: len(members) for name, members in account.services.items()} == {
            name: len(instances) for name, instances in mirrored.items() if instances
        }
    for ticket in list(simulation.live.values()):
        simulation.core.abandon(ticket, simulation.now)
        for decision in simulation.core.take_woken():
            if isinstance(decision, Send):
                simulation.core.abandon(decision.attempt.ticket, simulation.now)
    for service in simulation.core.services():
        simulation.core.forget_service(service, simulation.now)
    simulation.core.apply_routes((), simulation.now)
    simulation.core.apply_policies({}, simulation.now)
    assert vars(account) == vars(Account())


SEEN: dict[str, tuple[Property, int]] = {
    "a pick of an instance that is gone": (P.ROUTING_CORRECTNESS, 47),
    "a pick of a critical instance": (P.ROUTING_CORRECTNESS, 47),
    "a pick of an instance that never was": (P.ROUTING_CORRECTNESS, 6),
    "a pick of an open circuit": (P.CIRCUIT_BREAKER_SAFETY, 26),
    "a second request on an instance that takes one": (P.AT_MOST_ONE_PER_INSTANCE, 7),
    "a probe where none is wanted": (P.HALF_OPEN_BOUNDED, 6),
    "a half-open circuit passed by what is no probe": (P.CIRCUIT_BREAKER_SAFETY, 32),
    "a ticket that ends twice": (P.NO_REQUEST_LOSS, 14),
    "a client that leaves twice": (P.NO_REQUEST_LOSS, 28),
    # Told with the number of the view.
    "a registration that is missing": (P.REGISTRY_CONSISTENCY, 2),
    "a removal that is missing": (P.REGISTRY_CONSISTENCY, 44),
    "a change of health that is missing": (P.REGISTRY_CONSISTENCY, 44),
    "a pick from the queue that is missing": (P.BOUNDED_QUEUE, 15),
    "a retry that is missing": (P.AT_MOST_ONE_PER_INSTANCE, 16),
    "a maturing that is missing": (P.CIRCUIT_BREAKER_SAFETY, 31),
    "a removal before its view": (P.REGISTRY_CONSISTENCY, 44),
    "a pick from the queue before there is room": (P.AT_MOST_ONE_PER_INSTANCE, 13),
    # Told with the number of the failure that was to be followed by a retry.
    "an answer before the request": (P.NO_REQUEST_LOSS, 40),
    "a trip with too few failures": (P.VALID_CIRCUIT_TRANSITIONS, 15),
    "a trip that is due and does not come": (P.CIRCUIT_BREAKER_SAFETY, 21),
    "a trip said to be held though it need not be": (P.CIRCUIT_BREAKER_SAFETY, 21),
    "a passed probe that does not close": (P.VALID_CIRCUIT_TRANSITIONS, 37),
    "a probe that is not judged at its head": (P.CIRCUIT_BREAKER_SAFETY, 37),
    "a queue beyond its bound": (P.BOUNDED_QUEUE, 11),
    "a retry where it was though another is free": (P.RETRY_ELSEWHERE, 41),
    "a retry beyond the attempts allowed": (P.NO_REQUEST_LOSS, 21),
    "a good answer judged as failed": (P.VALID_CIRCUIT_TRANSITIONS, 25),
    "a broken response told as answered": (P.NO_REQUEST_LOSS, 40),
    "a route that is not in force": (P.ROUTING_CORRECTNESS, 30),
    # What is unfair but not unsafe is seen by what it leads to only.
    "a full queue that has room": (P.NO_REQUEST_LOSS, 17),
    "one who waits although an instance is free": (P.BOUNDED_QUEUE, 10),
    "one who is rejected although an instance is free": (P.NO_REQUEST_LOSS, 18),
    "one who overtakes in the queue": (P.NO_REQUEST_LOSS, 17),
}


def test_the_run_itself_is_right() -> None:
    assert violations(a_good_run()) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_the_specification_refuses_is_seen(kind: Kind) -> None:
    first = violations(a_good_run(), kind.corrupt)[0]
    assert (first.property, first.seq) == SEEN[kind.name]


BACKEND: dict[str, object] = {"service": "orders", "tags": [], "meta": {}, "panic": None}


class Case(NamedTuple):
    name: str
    corrupt: Corrupt
    property: Property
    at: int


def viewed(at: int, **fields: Any) -> Corrupt:  # noqa: ANN401 - an instance's fields
    """The first instance of that view was another than the one that is mirrored."""

    def corrupt(journal: Journal) -> None:
        first, *others = journal[at]["inputs"]["instances"]
        journal[at]["inputs"]["instances"] = (replace(first, **fields), *others)

    return corrupt


CASES = (
    Case("another address", viewed(2, port=9), P.REGISTRY_CONSISTENCY, 2),
    Case("another weight", viewed(2, weight_passing=9), P.REGISTRY_CONSISTENCY, 2),
    Case("another tag", viewed(2, tags=frozenset({"x"})), P.REGISTRY_CONSISTENCY, 2),
    Case("another metadatum", viewed(2, meta={"x": "y"}), P.REGISTRY_CONSISTENCY, 2),
    Case("a registration of what is there", repeated(3, "RegisterService"), P.VALID_SERVICE_STATES, 4),
    Case("a removal of what is not there", repeated(45, "DeregisterService"), P.VALID_SERVICE_STATES, 46),
    Case("a change of what is not there", decides(46, instance="dc1/n1/z"), P.VALID_SERVICE_STATES, 46),
    Case("a health that is none", decides(3, health="poorly"), P.VALID_SERVICE_STATES, 3),
    Case("a number that is given twice", decides(26, ticket=6), P.NO_REQUEST_LOSS, 26),
    Case("a result of an attempt that is over", told(24, attempt=1), P.NO_REQUEST_LOSS, 24),
    Case("an attempt that is left out", decides(41, attempt=3), P.NO_REQUEST_LOSS, 41),
    Case("an end without a head", dropped(12, "ProcessResponse"), P.NO_REQUEST_LOSS, 12),
    Case("one that leaves a queue it is not in", decides(14, ticket=2, attempt=2), P.NO_REQUEST_LOSS, 14),
    Case("a head told twice", repeated(12, "ProcessResponse"), P.NO_REQUEST_LOSS, 13),
    Case("a closed circuit that matures", decides(29, instance="dc1/n1/a"), P.VALID_CIRCUIT_TRANSITIONS, 29),
    Case("a circuit that is gone matures", decides(29, instance="dc1/n1/z"), P.VALID_CIRCUIT_TRANSITIONS, 29),
    Case("a success that trips", decides(25, circuit="trip"), P.VALID_CIRCUIT_TRANSITIONS, 25),
    Case("a failure that closes", decides(15, circuit="probes_passed"), P.VALID_CIRCUIT_TRANSITIONS, 15),
    Case("a head that trips without a judgement", decides(12, circuit="trip"), P.VALID_CIRCUIT_TRANSITIONS, 12),
    Case("a failure that is not judged", decides(15, judged=None), P.CIRCUIT_BREAKER_SAFETY, 15),
    Case("an end that is not judged", decides(13, judged=None), P.CIRCUIT_BREAKER_SAFETY, 13),
    Case("a backend of another service", decides(6, backend=BACKEND | {"service": "stock"}), P.ROUTING_CORRECTNESS, 6),
    Case("a backend that selects another", decides(6, backend=BACKEND | {"tags": ["x"]}), P.ROUTING_CORRECTNESS, 6),
    Case(
        "a backend whose request says that another serves it",
        decides(6, backend=BACKEND | {"only": ["dc1/n1/z"], "preferred": []}),
        P.ROUTING_CORRECTNESS,
        6,
    ),
    Case(
        "a panic that the route does not have",
        decides(6, backend=BACKEND | {"panic": "critical"}),
        P.ROUTING_CORRECTNESS,
        6,
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_else_is_wrong_is_seen(case: Case) -> None:
    first = violations(a_good_run(), case.corrupt)[0]
    assert (first.property, first.seq) == (case.property, case.at)


def traced(circuit: CircuitPolicy | None = None, *, cap: int = 0) -> tuple[Shell, list[Event]]:
    run: list[Event] = []
    shell = Shell(draw=no_jitter, trace=run.append)
    shell.policies(policy(circuit=circuit or CircuitPolicy(consecutive_failures=1, failure_ratio=0.0), cap=cap))
    return shell, run


def place_of(run: Sequence[Event], action: Action) -> int:
    """Of the last such event."""
    return max(place for place, event in enumerate(run) if event.action is action)


def only(run: Sequence[Event], corrupt: Corrupt) -> tuple[Property, int]:
    """The first violation of a run that is right but for the change."""
    assert violations(run) == []
    first = violations(run, corrupt)[0]
    return first.property, first.seq


def test_a_view_that_nobody_delivered() -> None:
    shell, run = traced()
    shell.view(instance("a"))
    shell.view(instance("x", service="stock"), service="stock")
    there = place_of(run, Action.REGISTER_SERVICE)
    assert only(run, decides(there, service="orders")) == (P.REGISTRY_CONSISTENCY, there)


def test_more_in_flight_than_a_route_may_have() -> None:
    shell, run = traced()
    r = route("r", limits=Limits(in_flight=1, queue=1))
    shell.routes(r)
    shell.view(instance("a"), instance("b"))
    shell.send(r)
    shell.queued(r)
    there = place_of(run, Action.ROUTE_REQUEST)
    sent = {"do": "send", "attempt": 1, "service": "orders", "instance": "dc1/n1/b", "probe": False}
    assert only(run, decides(there, **sent)) == (P.IN_FLIGHT_BOUNDED, there)


def test_more_attempts_than_a_route_allows() -> None:
    shell, run = traced(CircuitPolicy(mode=CircuitMode.OFF))
    r = route("r", retry=RetryPolicy(attempts=2))
    shell.routes(r)
    shell.view(instance("a"), instance("b"), instance("c"))
    shell.retried(shell.send(r))
    routes = place_of(run, Action.APPLY_ROUTES)
    assert only(
        run, lambda journal: journal[routes]["inputs"].update(routes=(route("r", retry=RetryPolicy(attempts=1)),))
    ) == (
        P.RETRY_ELSEWHERE,
        place_of(run, Action.RETRY),
    )


def test_a_panic_while_something_is_fit() -> None:
    shell, run = traced()
    a, b = instance("a"), instance("b")
    r = route("r", when_empty=WhenEmpty(panic=Health.CRITICAL))
    shell.routes(r)
    shell.view(sick(a), sick(b))
    shell.send(r)
    shell.view(sick(a), b)
    shell.send(r)
    there = place_of(run, Action.ROUTE_REQUEST)
    assert only(run, decides(there, instance="dc1/n1/a")) == (P.ROUTING_CORRECTNESS, there)


def test_a_panic_never_goes_into_maintenance() -> None:
    shell, run = traced()
    a, b = instance("a"), instance("b")
    r = route("r", when_empty=WhenEmpty(panic=Health.CRITICAL))
    shell.routes(r)
    shell.view(sick(a), sick(b, Health.MAINTENANCE))
    shell.send(r)
    there = place_of(run, Action.ROUTE_REQUEST)
    assert only(run, decides(there, instance="dc1/n1/b")) == (P.ROUTING_CORRECTNESS, there)


def test_a_backend_of_weight_nothing_is_none() -> None:
    shell, run = traced()
    r = route("r", Backend("orders"), Backend("stock", 0))
    shell.routes(r)
    shell.view(instance("a"))
    shell.view(instance("x", service="stock"), service="stock")
    shell.send(r)
    there = place_of(run, Action.ROUTE_REQUEST)
    other = {"backend": BACKEND | {"service": "stock"}, "service": "stock", "instance": "dc1/n1/x"}
    assert only(run, decides(there, **other)) == (P.ROUTING_CORRECTNESS, there)


def half_open(shell: Shell) -> None:
    shell.view(instance("a"), instance("b"))
    shell.trip(route(), "a")
    shell.wait(11.0)
    assert shell.states()["a"] == "half_open"


def test_one_probe_too_many() -> None:
    shell, run = traced()
    shell.routes(route())
    half_open(shell)
    on(shell, "a")
    shell.send(route())
    there = place_of(run, Action.ROUTE_REQUEST)
    assert only(run, decides(there, instance="dc1/n1/a", probe=True)) == (P.HALF_OPEN_BOUNDED, there)


def test_the_place_of_a_probe_that_was_given_up_is_free_again() -> None:
    shell, run = traced()
    shell.routes(route())
    half_open(shell)
    for _ in range(5):
        shell.abandon(on(shell, "a").ticket)
    assert violations(run) == []


def test_a_late_probe_opens() -> None:
    shell, run = traced()
    shell.routes(route())
    half_open(shell)
    on(shell, "a")
    shell.wait(11.0)
    there = place_of(run, Action.LATE_PROBE)
    assert only(run, decides(there, circuit=None)) == (P.VALID_CIRCUIT_TRANSITIONS, there)


def test_a_result_of_a_past_epoch_that_opens() -> None:
    shell, run = traced()
    shell.routes(route())
    shell.view(instance("a"), instance("b"))
    old = on(shell, "a")
    shell.trip(route(), "a")
    shell.fail(old)
    there = place_of(run, Action.PROCESS_RESPONSE)
    assert only(run, decides(there, circuit="trip")) == (P.VALID_CIRCUIT_TRANSITIONS, there)


def test_more_open_than_max_open() -> None:
    shell, run = traced(CircuitPolicy(consecutive_failures=1, failure_ratio=0.0, max_open=0.5))
    shell.routes(route())
    shell.view(instance("a"), instance("b"))
    shell.trip(route(), "a")
    shell.fail(on(shell, "b"))
    there = place_of(run, Action.PROCESS_RESPONSE)
    assert run[there].decision["circuit"] == "held"
    assert only(run, decides(there, circuit="trip")) == (P.CIRCUIT_BREAKER_SAFETY, there)


def test_a_circuit_that_is_off_does_not_open() -> None:
    shell, run = traced(CircuitPolicy(consecutive_failures=1, mode=CircuitMode.OFF))
    shell.routes(route())
    shell.view(instance("a"), instance("b"))
    shell.fail(on(shell, "a"))
    there = place_of(run, Action.PROCESS_RESPONSE)
    assert only(run, decides(there, circuit="trip")) == (P.VALID_CIRCUIT_TRANSITIONS, there)


def test_a_shadow_circuit_lets_pass_and_is_watched_all_the_same() -> None:
    shell, run = traced(CircuitPolicy(consecutive_failures=1, failure_ratio=0.0, mode=CircuitMode.SHADOW))
    shell.routes(route())
    shell.view(instance("a"), instance("b"))
    shell.trip(route(), "a")
    for _ in range(4):
        shell.answer(shell.send(route()))
    trip = max(place for place, event in enumerate(run) if event.decision.get("circuit") == "trip")
    assert only(run, decides(trip, circuit=None)) == (P.CIRCUIT_BREAKER_SAFETY, trip)


def test_a_retry_where_it_was_though_a_shadow_circuit_lets_pass() -> None:
    shell, run = traced(CircuitPolicy(consecutive_failures=1, failure_ratio=0.0, mode=CircuitMode.SHADOW))
    shell.routes(route())
    shell.view(instance("a"), instance("b"))
    shell.trip(route(), "a")
    shell.retried(on(shell, "b"))
    there = place_of(run, Action.RETRY)
    assert run[there].decision["instance"] == "dc1/n1/a"
    assert only(run, decides(there, instance="dc1/n1/b")) == (P.RETRY_ELSEWHERE, there)


def test_a_retry_that_leads_nowhere() -> None:
    shell, run = traced(CircuitPolicy(mode=CircuitMode.OFF))
    r = route("r", retry=RetryPolicy(on_statuses=frozenset({503})))
    shell.routes(r)
    shell.view(instance("a"), instance("b"))
    attempt = shell.send(r, facts())
    shell.head(attempt, 503)
    there = place_of(run, Action.PROCESS_RESPONSE)
    assert only(run, dropped(place_of(run, Action.RETRY), "Retry")) == (P.NO_REQUEST_LOSS, there)


def test_what_is_found_is_counted_and_logged_with_its_event(caplog: pytest.LogCaptureFixture) -> None:
    found = Violations()
    assert found.counts == {name.value: 0 for name in Property}
    for seq in range(1, 1001):
        found(Violation(P.BOUNDED_QUEUE, seq, "too many"))
    found(Violation(P.NO_REQUEST_LOSS, 7, "lost"))
    assert (found.counts["BoundedQueue"], found.counts["NoRequestLoss"]) == (1000, 1)
    events = [vars(record)["event"] for record in caplog.records]
    assert events == [*range(1, 11), 16, 32, 64, 128, 256, 512, 7], "a fault that repeats does not fill the log"
    last = vars(caplog.records[-1])
    assert (last["message"], last["levelname"]) == (VIOLATED, "ERROR")
    assert (last["property"], last["detail"], last["count"]) == ("NoRequestLoss", "lost", 1)


def test_every_property_is_seen_broken_by_some_case() -> None:
    of_their_own = {P.IN_FLIGHT_BOUNDED}  # the good run's routes have no such limit
    assert {case.property for case in CASES} | {name for name, _ in SEEN.values()} | of_their_own == set(Property)
    assert SEEN.keys() == {kind.name for kind in KINDS}
