"""Admission as `specs/Admission.tla` has it, and as the code does it: what the one decides the other allows, in step.

One machine is on the core: its rules are the module's actions under its guards; what the core then decides of itself
is taken through the module's actions, in the order in which it was told. The other is on the gates and lanes alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from random import Random
from typing import ClassVar, TypeVar, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.admission import Gate
from gateway.core.events import CALLS, Action, Event, Values
from gateway.core.model import Backend, FailureKind, Health, Limits, RetryPolicy, Route, ServicePolicy
from gateway.core.pool import Selector, Service
from gateway.core.tickets import Attempt, Ticket, TicketState
from tests.spec import admission
from tests.spec.admission import Held, State, World, backends_of
from tests.unit.core_support import STEADY, Shell, draws, facts, instance, key, policy

A, B = "a", "b"
TWO_SERVICES = World({A: frozenset({"a1", "a2"}), B: frozenset({"b1"})}, {A: "orders", B: "stock"})
ONE_SERVICE = World({A: frozenset({"a1", "c1"}), B: frozenset({"b1", "c1"})}, {A: "orders", B: "orders"})
ROUTES = {"r": (A, B), "s": (A,)}
TIMEOUT = 1.0
PICKS = st.integers(0, 5)
WAITS = st.sampled_from((0.3 * TIMEOUT, 0.7 * TIMEOUT, TIMEOUT))
T = TypeVar("T", int, str)


def picked(those: Iterable[T], pick: int) -> T:
    """One of them, told by a number that need not know how many they are."""
    ordered = sorted(those)
    return ordered[pick % len(ordered)]


class AdmissionMachine(RuleBasedStateMachine):
    """`state` is the module's; `steps` are those that the last rule led to."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Event] = []
        self.steps: list[tuple[State, State]] = []
        self.taken: Counter[str] = Counter()
        self.routes: dict[str, Route] = {}
        self.version = 0
        self.call = Action.TICK

    @initialize(
        world=st.sampled_from((ONE_SERVICE, TWO_SERVICES)),
        in_flight=st.sampled_from((0, 0, 1, 2)),
        queue=st.sampled_from((3, 2, 1, 0)),
        limit=st.sampled_from((1, 1, 2, 0)),
        draw=st.integers(0, 9),
        up=st.sampled_from((True, True, True, False)),
        crowd=st.integers(0, 6),
    )
    def begin(self, world: World, in_flight: int, queue: int, limit: int, draw: int, up: bool, crowd: int) -> None:
        self.state = State(world, {})
        self.instances = sorted(frozenset().union(*world.members.values()))
        self.shell = Shell(draw=draws(*[(draw + 3 * step) % 10 / 10 for step in range(10)]), trace=self.told.append)
        for each in self.instances:
            if up:
                self._permit(self.state.permitted | {each}, each)
        self._limit(limit)
        for name in ROUTES:
            self._edit(name, in_flight, queue)
        self.route_request("r", crowd)

    # --- the actions ---

    @rule(name=st.sampled_from(sorted(ROUTES)), count=st.sampled_from((1, 2, 4)))
    def route_request(self, name: str, count: int) -> None:
        for _ in range(count):
            self.shell.now += 1e-3
            self.shell.request(self.routes[name])
            self._follow()

    @precondition(lambda self: self._attempting())
    @rule(pick=PICKS)
    def retry(self, pick: int) -> None:
        self.shell.fail(self._attempt(pick), FailureKind.CONNECT_FAILURE, replayable=True)
        self._follow()

    @precondition(lambda self: self._attempting())
    @rule(pick=PICKS)
    def finish(self, pick: int) -> None:
        self.shell.answer(self._attempt(pick))
        self._follow()

    @precondition(lambda self: self._attempting())
    @rule(pick=PICKS)
    def time_out(self, pick: int) -> None:
        self.shell.fail(self._attempt(pick), FailureKind.TIMEOUT, replayable=False)
        self._follow()

    @precondition(lambda self: self.state.requests)
    @rule(pick=PICKS)
    def abandon(self, pick: int) -> None:
        self.shell.abandon(self.shell.core.traced_tickets[picked(self.state.requests, pick)])
        self._follow()

    @precondition(lambda self: self.state.queue)
    @rule(seconds=WAITS)
    def reject_late(self, seconds: float) -> None:
        self.shell.wait(seconds)
        self._follow()

    @precondition(lambda self: self._forbidden())
    @rule(pick=PICKS)
    def become_permitted(self, pick: int) -> None:
        name = picked(self._forbidden(), pick)
        self._permit(self.state.permitted | {name}, name)

    @precondition(lambda self: self.state.permitted)
    @rule(pick=PICKS)
    def become_forbidden(self, pick: int) -> None:
        name = picked(self.state.permitted, pick)
        self._permit(self.state.permitted - {name}, name)

    @rule(limit=st.sampled_from((1, 1, 2, 0)))
    def apply_policies(self, limit: int) -> None:
        if limit != self.state.limit:
            self._limit(limit)

    @rule(
        name=st.sampled_from(sorted(ROUTES)),
        in_flight=st.sampled_from((0, 0, 1, 2)),
        queue=st.sampled_from((3, 2, 1, 0)),
    )
    def apply_routes(self, name: str, in_flight: int, queue: int) -> None:
        self._edit(name, in_flight, queue)

    def _attempting(self) -> list[int]:
        return [number for number, held in self.state.requests.items() if held.state == "attempting"]

    def _forbidden(self) -> frozenset[str]:
        return frozenset(self.instances) - self.state.permitted

    def _attempt(self, pick: int) -> Attempt:
        attempt = self.shell.core.traced_tickets[picked(self._attempting(), pick)].attempt
        assert attempt is not None
        return attempt

    def _permit(self, permitted: frozenset[str], changed: str) -> None:
        world = self.state.world
        service = next(world.service_of[each] for each, members in world.members.items() if changed in members)
        backends = [each for each, of in world.service_of.items() if of == service]
        view = [
            instance(
                name,
                service=service,
                health=Health.PASSING if name in permitted else Health.CRITICAL,
                tags=[each for each in backends if name in world.members[each]],
            )
            for name in sorted(frozenset().union(*(world.members[each] for each in backends)))
        ]
        step = State.become_permitted if changed in permitted else State.become_forbidden
        self.shell.view(*view, service=service)
        self._follow(lambda: self._step(step, changed))

    def _limit(self, limit: int) -> None:
        services = set(self.state.world.service_of.values())
        self.shell.policies(*(policy(each, circuit=STEADY, cap=limit) for each in sorted(services)))
        self._follow(lambda: self._step(State.apply_policies, limit))

    def _edit(self, name: str, in_flight: int, queue: int) -> None:
        self.version += 1
        self.routes[name] = Route(
            name,
            self.version,
            tuple(Backend(self.state.world.service_of[each], tags=frozenset({each})) for each in ROUTES[name]),
            limits=Limits(in_flight, queue, TIMEOUT),
            retry=RetryPolicy(attempts=3),
        )
        self.shell.routes(*self.routes.values())
        self._follow()

    # --- what the core decided, as actions of the module ---

    def _follow(self, change: Callable[[], None] | None = None) -> None:
        """Takes the events of a rule through the module; `change` is what the world did, if it is that."""
        events, self.told[:] = list(self.told), []
        self.steps.clear()
        for event, following in zip_longest(events, events[1:]):
            if event.action in CALLS:
                self._rest()
                self.call = event.action
            if event.action in {Action.APPLY_VIEW, Action.APPLY_POLICIES} and change is not None:
                change()
            self._take(event, following)
        self._rest()
        self.shell.woken.clear()

    def _step(self, action: Callable[..., State], *arguments: object) -> None:
        before, self.state = self.state, action(self.state, *arguments)
        self.steps.append((before, self.state))
        self.taken[action.__name__] += 1

    def _rest(self, before: int | None = None) -> None:
        """Nobody may go in the lanes that are awake: in all of them, or in those whose head is older than that."""
        for lane in sorted(self.state.awake):
            if before is None or self.state.head_of(lane) < before:
                self._step(State.rest, lane)

    def _take(self, event: Event, following: Event | None) -> None:
        taken = self._takes.get(event.action)
        if taken is not None:
            taken(self, event, following)

    def _take_route_request(self, event: Event, _: Event | None) -> None:
        decision, state = event.decision, self.state
        number, route, backend = _ticket(decision), self.routes[str(event.inputs["route"])], self._backend(decision)
        if decision["do"] == "send":
            self._step(State.route_request_send, number, route, backend, _instance(decision))
        elif decision["do"] == "wait":
            self._step(State.route_request_wait, number, route, backend)
        else:
            assert (decision["reason"] == "queue_full") is not state.blocked(backend)
            self._step(State.route_request_reject, number, route, backend)

    def _take_process_response(self, event: Event, _: Event | None) -> None:
        number = _ticket(event.inputs)
        if event.decision["do"] == "done":
            self._step(State.finish, number)
        elif event.decision["do"] == "reject":
            retried = event.inputs["kind"] != FailureKind.TIMEOUT.value
            self._step(State.retry_denied if retried else State.time_out, number)

    def _take_retry(self, event: Event, _: Event | None) -> None:
        number, backend = _ticket(event.decision), self._backend(event.decision)
        if event.decision["do"] == "send":
            self._step(State.retry_send, number, backend, _instance(event.decision))
        else:
            self._step(State.retry_wait, number, backend)

    def _take_abandon(self, event: Event, _: Event | None) -> None:
        self._step(State.abandon, _ticket(event.inputs))

    def _take_reject(self, event: Event, _: Event | None) -> None:
        number, reason = _ticket(event.decision), event.decision["reason"]
        if reason == "queue_timeout":
            self._rest()
            self._step(State.reject_late, number)
        elif self.state.requests[number].state == "attempting":
            self._step(State.retry_denied, number)
        else:
            self._asked(number)
            self._step(State.reject_blocked, number)

    def _take_dequeue(self, event: Event, _: Event | None) -> None:
        number = _ticket(event.decision)
        if self.state.requests[number].state == "queued":
            self._asked(number)
            self._step(State.dequeue, number, _instance(event.decision))

    def _take_requeue(self, event: Event, following: Event | None) -> None:
        number, backend = _ticket(event.decision), self._backend(event.decision)
        self._asked(number)
        goes = following is not None and following.action is Action.DEQUEUE and _ticket(following.decision) == number
        if goes and following is not None:
            self._step(State.requeue_send, number, backend, _instance(following.decision))
        else:
            self._step(State.requeue_wait, number, backend)

    def _asked(self, number: int) -> None:
        """Of lanes that are awake the one whose head is oldest is asked first.

        Policies are put in force service by service, and with each its lanes are asked before the next one's.
        """
        lane = self.state.requests[number].lane
        if self.call is not Action.APPLY_POLICIES or self.state.world is ONE_SERVICE:
            self._rest(self.state.head_of(lane))

    _takes: ClassVar[dict[Action, Callable[[AdmissionMachine, Event, Event | None], None]]] = {
        Action.ROUTE_REQUEST: _take_route_request,
        Action.PROCESS_RESPONSE: _take_process_response,
        Action.RETRY: _take_retry,
        Action.ABANDON: _take_abandon,
        Action.REJECT: _take_reject,
        Action.DEQUEUE: _take_dequeue,
        Action.REQUEUE: _take_requeue,
    }

    def _backend(self, decision: Values) -> str:
        backend = cast(Values, decision["backend"])
        (name,) = cast(Sequence[str], backend["tags"])
        assert self.state.world.service_of[name] == backend["service"]
        return name

    # --- properties ---

    @invariant()
    def bounded_queue(self) -> None:
        self._hold(admission.bounded_queue)

    @invariant()
    def in_flight_bounded(self) -> None:
        self._hold(admission.in_flight_bounded)

    @invariant()
    def at_most_one_per_instance(self) -> None:
        self._hold(admission.at_most_one_per_instance)

    @invariant()
    def retry_elsewhere(self) -> None:
        self._hold(admission.retry_elsewhere)

    @invariant()
    def no_request_loss(self) -> None:
        self._hold(admission.no_request_loss)

    @invariant()
    def first_in_first_out(self) -> None:
        self._hold(admission.first_in_first_out)

    @invariant()
    def retries_first(self) -> None:
        self._hold(admission.retries_first)

    @invariant()
    def no_needless_wait(self) -> None:
        self._hold(admission.no_needless_wait)

    def _hold(self, holds: Callable[[State, State], None]) -> None:
        for before, after in self.steps:
            holds(before, after)

    @invariant()
    def the_core_is_in_this_state(self) -> None:
        core, state = self.shell.core, self.state
        assert core.traced_tickets.keys() == state.requests.keys()
        for number, ticket in core.traced_tickets.items():
            assert _held(ticket, state.world) == state.requests[number]
        for name, gate in core._routes._gates.items():
            held = [each for each in state.requests.values() if each.route.name == name]
            assert gate.in_flight == sum(each.state == "attempting" for each in held)
            assert gate.queued == sum(each.state == "queued" for each in held)
            lanes = {_tag(pool.selector): lane for pool, lane in gate.lanes.items()}
            assert {(name, tag) for tag in lanes} == {lane for lane in state.lanes() if lane[0] == name}
            for tag, lane in lanes.items():
                assert tuple(lane.retries) == state.retries_of((name, tag))
                assert tuple(lane.fresh) == state.fresh_of((name, tag))

    @invariant()
    def who_waits_has_an_end(self) -> None:
        """No deadlock: a time-out is due for everyone who waits."""
        tickets = self.shell.core.traced_tickets
        deadline = self.shell.core.next_deadline
        for number in self.state.queue:
            assert deadline is not None
            assert self.shell.now < tickets[number].queued_until <= self.shell.now + TIMEOUT
            assert deadline <= tickets[number].queued_until

    def teardown(self) -> None:
        """Availability: time-outs alone end every ticket."""
        if not hasattr(self, "shell"):
            return
        while self.state.requests:
            while self._attempting():
                self.time_out(0)
            self.shell.wait(TIMEOUT)
            self._follow()
        self.the_core_is_in_this_state()


def _ticket(values: Values) -> int:
    return cast(int, values["ticket"])


def _instance(decision: Values) -> str:
    return str(decision["instance"]).rpartition("/")[2]


def _tag(selector: Selector) -> str:
    (tag,) = selector.tags
    return tag


def _held(ticket: Ticket, world: World) -> Held:
    tag = _tag(ticket.pool.selector)
    assert tag in backends_of(ticket.route, world)
    attempting = ticket.state is TicketState.ATTEMPTING
    return Held(
        ticket.state.value,
        ticket.route,
        tag,
        frozenset(each.service_id for each in ticket.tried),
        ticket.attempts,
        ticket.attempt.instance.key.service_id if attempting and ticket.attempt is not None else None,
    )


ACTIONS = (
    State.route_request_send,
    State.route_request_wait,
    State.route_request_reject,
    State.retry_send,
    State.retry_wait,
    State.retry_denied,
    State.finish,
    State.time_out,
    State.abandon,
    State.reject_late,
    State.dequeue,
    State.requeue_send,
    State.requeue_wait,
    State.reject_blocked,
    State.rest,
    State.become_permitted,
    State.become_forbidden,
    State.apply_policies,
)
PROPERTIES = (
    AdmissionMachine.bounded_queue,
    AdmissionMachine.in_flight_bounded,
    AdmissionMachine.at_most_one_per_instance,
    AdmissionMachine.retry_elsewhere,
    AdmissionMachine.no_request_loss,
    AdmissionMachine.first_in_first_out,
    AdmissionMachine.retries_first,
    AdmissionMachine.no_needless_wait,
    AdmissionMachine.the_core_is_in_this_state,
    AdmissionMachine.who_waits_has_an_end,
)


def walk(machine: AdmissionMachine, random: Random) -> None:
    """One step of a long run, in which more requests come than hypothesis would have."""
    drawn, pick = random.random(), random.randrange(6)
    if drawn < 0.3:
        machine.route_request(random.choice("rrrs"), random.choice((1, 2, 4)))
    elif drawn < 0.4:
        machine.reject_late(random.choice((0.2, 0.5)) * TIMEOUT)
    elif drawn < 0.42:
        machine.apply_policies(random.choice((0, 1, 1, 2)))
    elif drawn < 0.5:
        machine.apply_routes(random.choice("rrs"), random.choice((0, 1, 2)), random.choice((0, 1, 3)))
    elif drawn < 0.57 and machine.state.permitted:
        machine.become_forbidden(pick)
    elif drawn < 0.67 and machine.state.permitted < frozenset(machine.instances):
        machine.become_permitted(pick)
    elif drawn < 0.72 and machine.state.requests:
        machine.abandon(pick)
    elif any(held.state == "attempting" for held in machine.state.requests.values()):
        random.choice((machine.retry, machine.retry, machine.finish, machine.time_out))(pick)


@pytest.mark.parametrize("world", [ONE_SERVICE, TWO_SERVICES], ids=["one service", "two services"])
def test_long_runs_take_every_action(world: World) -> None:
    taken: Counter[str] = Counter()
    for seed in (11, 12, 13):
        machine, random = AdmissionMachine(), Random(seed)
        machine.begin(world, in_flight=2, queue=3, limit=1, draw=seed, up=True, crowd=4)
        for _ in range(4_000):
            walk(machine, random)
            for holds in PROPERTIES:
                holds(machine)
        machine.teardown()
        taken += machine.taken
    assert {action.__name__ for action in ACTIONS} <= taken.keys()


def test_who_comes_from_another_lane_does_not_overtake() -> None:
    """Too rare for a walk: it takes a later version with more room, behind an earlier one in the other lane."""
    machine = AdmissionMachine()
    machine.begin(TWO_SERVICES, in_flight=1, queue=3, limit=1, draw=0, up=True, crowd=2)
    machine.apply_routes("r", in_flight=2, queue=3)
    machine.become_forbidden(1)
    machine.route_request("r", 1)
    assert [held.lane for held in machine.state.requests.values()] == [("r", A), ("r", B), ("r", A)]
    machine.become_forbidden(0)
    machine.first_in_first_out()
    assert machine.state.queue == (2, 3)
    assert machine.state.requests[3].lane == ("r", B)


TestAdmission = AdmissionMachine.TestCase
TestAdmission.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


class GateMachine(RuleBasedStateMachine):
    """A gate with its lanes, by itself, against lists of who waits."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate("r")
        self.service = Service("orders", ServicePolicy("orders"), None)
        self.pools = [self.service.pool(Selector(frozenset({tag}), (), None)) for tag in (A, B)]
        self.queue: list[Ticket] = []
        self.in_flight = 0
        self.opened = 0

    @rule(pool=st.sampled_from((0, 1)), tried=st.booleans())
    def joins(self, pool: int, tried: bool) -> None:
        ticket = self._ticket(pool, tried=tried)
        self.gate.join(ticket)
        self.queue.append(ticket)

    @precondition(lambda self: self.queue)
    @rule(pick=PICKS)
    def leaves(self, pick: int) -> None:
        ticket = self.queue.pop(pick % len(self.queue))
        self.gate.leave(ticket)

    @precondition(lambda self: self.queue)
    @rule(pick=PICKS)
    def joins_the_other_lane(self, pick: int) -> None:
        ticket = self.queue.pop(pick % len(self.queue))
        self.gate.leave(ticket)
        ticket.pool = next(pool for pool in self.pools if pool is not ticket.pool)
        self.gate.join(ticket)
        self.queue.append(ticket)

    @rule()
    def goes_out(self) -> None:
        self.gate.in_flight += 1
        self.in_flight += 1

    @precondition(lambda self: self.in_flight)
    @rule()
    def comes_back(self) -> None:
        self.gate.in_flight -= 1
        self.in_flight -= 1

    def _ticket(self, pool: int, *, tried: bool) -> Ticket:
        self.opened += 1
        ticket = Ticket(self.opened, Route("r", 1, (Backend("orders"),)), facts(), self.pools[pool], self.gate)
        ticket.tried = (key("a"),) if tried else ()
        return ticket

    def _waiting(self, pool: int, *, tried: bool) -> list[Ticket]:
        return [each for each in self.queue if each.pool is self.pools[pool] and bool(each.tried) is tried]

    @invariant()
    def counts_are_right(self) -> None:
        assert (self.gate.in_flight, self.gate.queued) == (self.in_flight, len(self.queue))
        assert bool(self.gate) is bool(self.queue or self.in_flight)
        assert not self.gate.full(0)
        for limit in (1, 2, 3):
            assert self.gate.full(limit) is (self.in_flight >= limit)

    @invariant()
    def lanes_are_those_in_which_somebody_waits(self) -> None:
        waiting = {each.pool for each in self.queue}
        assert self.gate.lanes.keys() == waiting
        assert set(self.service.lanes) == set(self.gate.lanes.values())
        assert all(lane and lane.pool is pool for pool, lane in self.gate.lanes.items())

    @invariant()
    def first_in_first_out(self) -> None:
        for number, pool in enumerate(self.pools):
            retries, fresh = self._waiting(number, tried=True), self._waiting(number, tried=False)
            if retries or fresh:
                lane = self.gate.lanes[pool]
                assert lane.head is [*retries, *fresh][0]
                assert list(lane.candidates()) == [*retries, *fresh[:1]]
            assert self.gate.holds_back(self._ticket(number, tried=False)) is bool(fresh)
            assert not self.gate.holds_back(self._ticket(number, tried=True))


TestGate = GateMachine.TestCase
TestGate.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
