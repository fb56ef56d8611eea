"""The whole core under random worlds: whatever happens in whatever order, what it promises holds after each step.

The rules are actions of `specs/GatewayImpl.tla` (what the core does of itself follows from them), its properties are
asked under their names, and the events of runs are taken by TLC as a behaviour of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.core.breaker import CircuitState
from gateway.core.events import Action, Event
from gateway.core.model import (
    Backend,
    Balance,
    CircuitPolicy,
    FailureKind,
    Health,
    Instance,
    InstanceKey,
    Limits,
    Reason,
    RetryPolicy,
    Route,
    ServicePolicy,
    WhenEmpty,
)
from gateway.core.pool import Member, Pool
from gateway.core.tickets import Attempt, Broken, Deliver, Done, End, Failure, Head, Reject, Send, Ticket, Wait
from gateway.journal.monitor import Monitor
from gateway.journal.properties import Violation
from gateway.journal.stream import EventStream
from specs.traces import validate
from tests.spec.journals import lines_of
from tests.unit.core_support import Shell, draws, facts
from tests.unit.core_worlds import (
    NAMES,
    SERVICES,
    View,
    backends,
    circuit_permitted,
    healthy_members,
    instances_of,
    limits,
    policies,
    retries,
    same_place,
    views,
    when_empty,
)

Place = tuple[str, InstanceKey, tuple[str, int]]


class CoreMachine(RuleBasedStateMachine):
    """Counts for itself what each decision means, and compares; so does a monitor, of the events alone.

    Properties of states are invariants; those of steps are asked at the step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Event] = []
        self.violations: list[Violation] = []
        self.stream = EventStream([Monitor(self.violations.append), lambda _, event: self.told.append(event)])
        self.mirror: dict[str, dict[InstanceKey, Instance]] = {service: {} for service in SERVICES}
        self.policies: dict[str, ServicePolicy] = {}
        self.known: dict[str, Route] = {}
        self.version = 0
        self.opened = 0
        self.ended: set[int] = set()
        self.waiting: dict[int, tuple[Ticket, Pool]] = {}
        """Tickets told to wait, with the pool they began to wait for."""
        self.flying: dict[int, Attempt] = {}
        self.delivered: set[int] = set()

    @initialize(
        draw=st.integers(0, 99),
        in_flight=st.sampled_from((0, 1, 2)),
        queue=st.sampled_from((0, 1, 3)),
        cap=st.sampled_from((0, 1)),
        node=st.sampled_from((None, None, "n0")),
    )
    def begin(self, draw: int, in_flight: int, queue: int, cap: int, node: str | None) -> None:
        turns = draws(*[(draw + 37 * step) % 100 / 100 for step in range(100)])
        self.shell = Shell(draw=turns, prefer_node=node, trace=self.stream)
        self.core = self.shell.core
        for service in SERVICES:
            self.apply_view(service, [(number, 1, 1, Health.PASSING, 7000, number == 0) for number in range(2)])
            self.apply_policies(service, (CircuitPolicy(2, 0.0, open_for=1.0), Balance(), cap, 0.0))
        retry = RetryPolicy(on_statuses=frozenset({503}))
        for name, shares in zip(NAMES, (("orders",), ("orders", "stock"), ("stock",)), strict=True):
            self.apply_routes(name, [Backend(share) for share in shares], Limits(in_flight, queue), retry, WhenEmpty())

    # --- the world changes ---

    @rule(service=st.sampled_from(SERVICES), view=views)
    def apply_view(self, service: str, view: View) -> None:
        made = instances_of(service, view)
        before = dict(self.circuit_marks())
        old, self.mirror[service] = self.mirror[service], {each.key: each for each in made}
        difference = self.shell.view(*made, service=service)
        gone = {each.key for each in difference.deregistered}
        assert gone == {key for key, each in old.items() if self.endpoint_of(service, key) != each.endpoint}
        self.settle()
        self.circuits_survived(before)

    def endpoint_of(self, service: str, key: InstanceKey) -> tuple[str, int] | None:
        found = self.mirror[service].get(key)
        return found.endpoint if found else None

    @rule(service=st.sampled_from(SERVICES))
    def forget_service(self, service: str) -> None:
        self.mirror[service] = {}
        self.shell.forget(service)
        self.settle()

    @rule(name=st.sampled_from(NAMES), shares=backends, limits=limits, retry=retries, when_empty=when_empty)
    def apply_routes(
        self, name: str, shares: Sequence[Backend], limits: Limits, retry: RetryPolicy, when_empty: WhenEmpty
    ) -> None:
        self.version += 1
        self.known[name] = Route(name, self.version, tuple(shares), limits=limits, retry=retry, when_empty=when_empty)
        self._put_routes()

    @rule(name=st.sampled_from(NAMES))
    def apply_routes_without(self, name: str) -> None:
        self.known.pop(name, None)
        self._put_routes()

    def _put_routes(self) -> None:
        before = dict(self.circuit_marks())
        self.shell.routes(*self.known.values())
        self.settle()
        self.circuits_survived(before)

    @rule(service=st.sampled_from(SERVICES), made=policies)
    def apply_policies(self, service: str, made: tuple[CircuitPolicy, Balance, int, float]) -> None:
        circuit, balance, cap, slow_start = made
        self.policies[service] = ServicePolicy(
            service, self.version, circuit, balance, in_flight_per_instance=cap, slow_start=slow_start
        )
        before = dict(self.circuit_marks())
        self.shell.policies(*self.policies.values())
        self.settle()
        self.circuits_survived(before)

    @rule(seconds=st.sampled_from((0.1, 0.5, 1.0, 3.0, 6.0)))
    def tick(self, seconds: float) -> None:
        self.shell.wait(seconds)
        self.settle()

    @rule(seconds=st.sampled_from((1.0, 6.0)))
    def late_tick(self, seconds: float) -> None:
        self.shell.now += seconds
        self.shell.wait(0.0)
        self.settle()

    @precondition(lambda self: self.known)
    @rule(
        data=st.data(),
        method=st.sampled_from(("GET", "GET", "POST")),
        client=st.integers(0, 5),
        count=st.sampled_from((1, 1, 2, 4)),
    )
    def route_request(self, data: st.DataObject, method: str, client: int, count: int) -> None:
        route = self.known[data.draw(st.sampled_from(sorted(self.known)))]
        for _ in range(count):
            self.one_request(route, method, client)

    def one_request(self, route: Route, method: str, client: int) -> None:
        self.opened += 1
        ahead = [ticket for ticket, _ in self.waiting.values() if not ticket.tried]
        decision = self.shell.request(route, facts(method, client_ip=f"192.0.2.{client}"))
        if isinstance(decision, Send):
            pool = decision.attempt.ticket.pool
            jumped = any(ticket.pool is pool and ticket.route.name == route.name for ticket in ahead)
            assert not jumped, "jumped the queue"
        self.decided(decision)
        self.settle()

    @precondition(lambda self: set(self.flying) - self.delivered)
    @rule(data=st.data(), status=st.sampled_from((200, 200, 404, 429, 500, 503, 101)), replayable=st.booleans())
    def process_head(self, data: st.DataObject, status: int, replayable: bool) -> None:
        attempt = self.flying[data.draw(st.sampled_from(sorted(set(self.flying) - self.delivered)))]
        self.reported(attempt, Head(status, replayable))

    @precondition(lambda self: self.delivered)
    @rule(data=st.data(), cut=st.sampled_from((False, False, True)))
    def process_end(self, data: st.DataObject, cut: bool) -> None:
        attempt = self.flying[data.draw(st.sampled_from(sorted(self.delivered)))]
        self.reported(attempt, Failure(FailureKind.TRUNCATED, False) if cut else End())

    @precondition(lambda self: set(self.flying) - self.delivered)
    @rule(
        data=st.data(),
        kind=st.sampled_from([kind for kind in FailureKind if kind is not FailureKind.TRUNCATED]),
        replayable=st.booleans(),
    )
    def process_failure(self, data: st.DataObject, kind: FailureKind, replayable: bool) -> None:
        attempt = self.flying[data.draw(st.sampled_from(sorted(set(self.flying) - self.delivered)))]
        self.reported(attempt, Failure(kind, replayable))

    @precondition(lambda self: self.flying or self.waiting)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        ticket = self.a_ticket(data)
        self.shell.abandon(ticket)
        self.gone(ticket.id)
        self.settle()
        self.shell.abandon(ticket)

    @precondition(lambda self: set(self.flying) - self.delivered or self.waiting)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        ticket = self.a_ticket(data, undelivered=True)
        self.decided(self.shell.reject(ticket, Reason.REQUEST_TIMEOUT))
        self.settle()

    def a_ticket(self, data: st.DataObject, *, undelivered: bool = False) -> Ticket:
        number = data.draw(
            st.sampled_from(
                sorted((set(self.flying) - self.delivered if undelivered else set(self.flying)) | set(self.waiting))
            )
        )
        return self.waiting[number][0] if number in self.waiting else self.flying[number].ticket

    def reported(self, attempt: Attempt, result: Head | End | Failure) -> None:
        number, had_head = attempt.ticket.id, attempt.ticket.id in self.delivered
        decision = self.shell.report(attempt, result)
        if isinstance(decision, Deliver):
            assert not had_head
            self.delivered.add(number)
        else:
            assert not had_head or isinstance(decision, Done | Broken), "something else after the head"
            if isinstance(decision, Done | Broken):
                self.gone(number)
            else:
                self.flying.pop(number)
                self.decided(decision)
        if isinstance(decision, Wait):
            assert number not in self.shell.woken, "told to wait and woken in one step"
        self.settle()

    # --- what decisions mean ---

    def settle(self) -> None:
        woken = list(self.shell.woken.values())
        self.shell.woken.clear()
        for decision in woken:
            ticket = decision.attempt.ticket if isinstance(decision, Send) else decision.ticket
            _, pool = self.waiting.pop(ticket.id)
            if isinstance(decision, Send) and len(ticket.tried) == 0 and ticket.pool is pool:
                ahead = [
                    other.id
                    for other, began in self.waiting.values()
                    if other.pool is pool is began and other.route.name == ticket.route.name and not other.tried
                ]
                assert all(ticket.id < other for other in ahead), "not first in, first out"
            self.decided(decision)

    def decided(self, decision: object) -> None:
        if isinstance(decision, Send):
            self.sent(decision.attempt)
        elif isinstance(decision, Wait):
            ticket = decision.ticket
            self.waiting[ticket.id] = (ticket, ticket.pool)
            assert (
                sum(other.route.name == ticket.route.name for other, _ in self.waiting.values())
                <= ticket.route.limits.queue
            )
        else:
            assert isinstance(decision, Reject)
            assert decision.ticket.attempt is None or decision.ticket.id not in self.delivered
            self.gone(decision.ticket.id)

    def gone(self, number: int) -> None:
        assert number not in self.ended, "ended twice"
        self.ended.add(number)
        self.waiting.pop(number, None)
        self.flying.pop(number, None)
        self.delivered.discard(number)

    def sent(self, attempt: Attempt) -> None:
        ticket = attempt.ticket
        assert ticket.id not in self.ended
        assert ticket.id not in self.flying
        self.flying[ticket.id] = attempt
        self.routing_correctness(attempt)
        self.circuit_breaker_safety(attempt)
        self.at_most_one_per_instance(attempt)
        self.in_flight_bounded(ticket)
        self.retry_elsewhere(attempt)

    # --- properties of a pick ---

    def routing_correctness(self, attempt: Attempt) -> None:
        held = self.mirror[attempt.instance.service].get(attempt.instance.key)
        assert held == attempt.instance, "picked what the mirror does not hold"
        self.may_be_picked(attempt.ticket, held)

    def circuit_breaker_safety(self, attempt: Attempt) -> None:
        circuit_permitted(attempt)

    def at_most_one_per_instance(self, attempt: Attempt) -> None:
        cap = attempt.member.service.policy.in_flight_per_instance
        assert not cap or sum(same_place(other, attempt) for other in self.flying.values()) <= cap

    def in_flight_bounded(self, ticket: Ticket) -> None:
        mine = [
            other.ticket.route.limits.in_flight
            for other in self.flying.values()
            if other.ticket.route.name == ticket.route.name
        ]
        assert 0 in mine or len(mine) <= max(mine)

    def retry_elsewhere(self, attempt: Attempt) -> None:
        ticket = attempt.ticket
        assert ticket.attempts <= ticket.route.retry.attempts
        if attempt.instance.key in ticket.tried:
            others = [
                other
                for other in healthy_members(ticket.pool)
                if other.key not in ticket.tried and other.circuit.state is CircuitState.CLOSED
            ]
            assert not others, "a retry on the same instance although another is permitted"

    def may_be_picked(self, ticket: Ticket, held: Instance) -> None:
        if not held.weight:
            panic = ticket.route.when_empty.panic
            assert panic is not None
            assert Health.PASSING < held.health <= panic
            selected = [each for each in self.mirror[held.service].values() if ticket.pool.selector.selects(each)]
            assert not any(each.weight for each in selected), "panicked without need"
        shares = [
            backend.weight
            for backend in ticket.route.backends
            if backend.service == held.service and backend.tags <= held.tags
        ]
        assert any(shares), "a backend without weight was picked"

    def circuit_marks(self) -> Iterator[tuple[Place, tuple[object, ...]]]:
        for service, members in self.mirror.items():
            for view in self.core.circuits():
                if view.service == service and view.key in members:
                    place = (service, view.key, members[view.key].endpoint)
                    yield place, (view.state, view.since, view.openings, view.consecutive_failures)

    def circuits_survived(self, before: dict[Place, tuple[object, ...]]) -> None:
        for place, marks in self.circuit_marks():
            assert place not in before or before[place] == marks, "a change of the world touched a circuit"

    # --- properties of states ---

    @invariant()
    def the_monitor_finds_nothing(self) -> None:
        assert not self.violations
        assert not self.stream.failed

    @invariant()
    def counts_are_right(self) -> None:
        loads = {load.route: load for load in self.core.loads()}
        flying = Counter(attempt.ticket.route.name for attempt in self.flying.values())
        waiting = Counter(ticket.route.name for ticket, _ in self.waiting.values())
        for name in {*loads, *flying, *waiting}:
            load = loads[name]
            assert (load.in_flight, load.queued) == (flying[name], waiting[name])
        members = Counter(attempt.member for attempt in self.flying.values())
        assert all(member.in_flight == members[member] for member in self.members())

    def members(self) -> Iterator[Member]:
        for service in self.core._services._services.values():
            yield from service.members.values()

    @invariant()
    def half_open_bounded(self) -> None:
        probes = Counter(
            attempt.member
            for attempt in self.flying.values()
            if attempt.permit.probe and not attempt.judged and attempt.permit.epoch == attempt.member.circuit.epoch
        )
        for member in self.members():
            assert member.circuit.probes == probes[member]
            assert member.circuit.state is CircuitState.HALF_OPEN or not member.circuit.probes

    @invariant()
    def valid_service_states(self) -> None:
        mirrored = {service: {each.key: each for each in held} for service, held in self.core.services().items()}
        assert {service: held for service, held in self.mirror.items() if held} == {
            service: held for service, held in mirrored.items() if held
        }
        assert {member.key for member in self.members()} == {key for held in self.mirror.values() for key in held}

    @invariant()
    def no_request_loss(self) -> None:
        counters = self.core.counters
        assert counters.tickets == self.opened
        assert sum(counters.outcomes.values()) == len(self.ended)
        assert len(self.ended) + len(self.waiting) + len(self.flying) == self.opened
        assert not set(self.waiting) & set(self.flying)

    @invariant()
    def no_needless_wait(self) -> None:
        blocked: set[tuple[str, Pool]] = set()
        for ticket, _ in sorted(self.waiting.values(), key=lambda pair: pair[0].id):
            gate, pool = ticket.gate, ticket.pool
            if not ticket.tried and (ticket.route.name, pool) in blocked:
                continue
            limit = ticket.route.limits.in_flight
            if limit and gate.in_flight >= limit:
                blocked.add((ticket.route.name, pool))
                continue
            policy = pool.service.policy
            permitted = [each for each in healthy_members(pool) if each.circuit.permits(policy.circuit)]
            cap = policy.in_flight_per_instance
            eligible = [each for each in permitted if not cap or each.in_flight < cap]
            untried = [each for each in eligible if each.key not in ticket.tried]
            exhausted = all(each.key in ticket.tried for each in permitted)
            assert not untried, "waits although an instance could take it"
            assert not (eligible and exhausted), "waits although its last resort could take it"

    @invariant()
    def no_deadlock(self) -> None:
        for ticket, _ in self.waiting.values():
            deadline = self.core.next_deadline
            assert deadline is not None
            assert deadline <= ticket.queued_until

    def teardown(self) -> None:
        if not hasattr(self, "shell"):
            return
        while self.flying:
            number, attempt = next(iter(self.flying.items()))
            if number not in self.delivered:
                self.reported(attempt, Head(200, False))
            self.reported(attempt, End())
        self.shell.wait(3.0)
        self.settle()
        assert not self.waiting
        self.counts_are_right()
        self.no_request_loss()
        assert all(load.in_flight == load.queued == 0 for load in self.core.loads())
        self.clear()
        self.the_monitor_finds_nothing()

    def clear(self) -> None:
        """Takes all away that the world brought: as the specification sees it, the core is where it began."""
        for service in SERVICES:
            self.apply_view(service, [])
        self.shell.policies()
        self.shell.routes()


TestCore = CoreMachine.TestCase
TestCore.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

RUNS = settings(
    derandomize=True,
    database=None,
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

RARE = {Action.PREFER, Action.REQUEUE, Action.DELIVER, Action.LATE_PROBE}
"""What these runs need not reach: a core that is told its node later, and what the simulated runs reach instead."""
OF_SEVERAL = {Action.IMPOSE_CIRCUIT}
"""Comes from other workers, which this machine has none of: `test_shared_circuits` and the simulation's runs have."""


@pytest.mark.timeout(300)
def test_runs_are_behaviours_of_the_specification() -> None:
    """One after the other as one journal, which is what they are: each run ends where the next begins."""
    told: list[Event] = []

    class Told(CoreMachine):
        def teardown(self) -> None:
            super().teardown()
            told.extend(self.told)

    run_state_machine_as_test(Told, settings=RUNS)
    lines = lines_of(told)
    found = validate(lines)
    assert found.accepted, f"{found}; refused: {lines[found.taken] if found.taken < len(lines) else None}"
    assert found.given >= 2_000
    assert {event.action for event in told} >= set(Action) - RARE - OF_SEVERAL
    print(f"TLC took {found.taken} events in {found.places} places")
