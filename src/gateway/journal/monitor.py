"""Watches the events of a running core for what its specification forbids.

It keeps its own account, of the events alone, and holds each decision against the safety properties of
`specs/GatewayImpl.tla`, under their names. It never stops the gateway: what it finds it tells, then believes the
event, so that one fault is told once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from gateway.core.events import CALLS, Action, Event, Values
from gateway.core.model import CircuitMode, Health, Instance, Route, ServicePolicy

_HEALTHS = {str(health): health for health in Health}
_FLYING = frozenset({"attempting", "deciding", "responding"})
_TOLERANCE = 1e-9

_Name = tuple[str, str]
"""Service and instance."""


class Violation(NamedTuple):
    """`seq` is the number of the event, which a journal of the same run has as well."""

    property: str
    """As the specification calls it."""
    seq: int
    message: str


class _Backend(NamedTuple):
    service: str
    tags: frozenset[str]
    meta: tuple[tuple[str, str], ...]
    panic: Health | None


@dataclass(slots=True)
class _Mirrored:
    health: Health
    weights: tuple[int, int]
    tags: frozenset[str]
    meta: Mapping[str, str]
    place: tuple[object, ...]
    """Tells apart what was registered under the same name at another address."""

    @property
    def fit(self) -> bool:
        passing, warning = self.weights
        return (self.health is Health.PASSING and passing > 0) or (self.health is Health.WARNING and warning > 0)


@dataclass(slots=True)
class _Circuit:
    state: str = "closed"
    failures: int = 0
    passed: int = 0
    probes: set[int] = field(default_factory=set)
    """Tickets whose probes are out."""


@dataclass(slots=True)
class _Ticket:
    route: Route | None
    backend: _Backend
    state: str = "new"
    attempts: int = 0
    tried: set[str] = field(default_factory=set)
    at: _Name | None = None
    place: tuple[object, ...] = ()
    permit: str = "spent"


class Monitor:
    """Listens to all events of one core, from its first on."""

    def __init__(self, violated: Callable[[Violation], None]) -> None:
        self._violated = violated
        self._seq = 0
        self._mirror: dict[_Name, _Mirrored] = {}
        self._circuits: dict[_Name, _Circuit] = {}
        self._policies: dict[str, ServicePolicy] = {}
        self._routes: dict[str, Route] = {}
        self._tickets: dict[int, _Ticket] = {}
        self._last_ticket = 0
        self._flying: Counter[tuple[object, ...]] = Counter()
        self._in_flight: Counter[str] = Counter()
        self._queued: Counter[str] = Counter()
        self._delivered: tuple[str, Sequence[Instance]] | None = None
        self._actions: dict[Action, Callable[[Values, Values], None]] = {
            Action.APPLY_ROUTES: self._apply_routes,
            Action.APPLY_POLICIES: self._apply_policies,
            Action.APPLY_VIEW: self._apply_view,
            Action.FORGET_SERVICE: self._apply_view,
            Action.REGISTER_SERVICE: self._register,
            Action.DEREGISTER_SERVICE: self._deregister,
            Action.UPDATE_HEALTH: self._update,
            Action.ROUTE_REQUEST: self._route_request,
            Action.PROCESS_RESPONSE: self._process_response,
            Action.RETRY: self._retry,
            Action.DELIVER: self._deliver,
            Action.REJECT: self._reject,
            Action.REFUSE: self._refuse,
            Action.ABANDON: self._abandon,
            Action.DEQUEUE: self._dequeue,
            Action.REQUEUE: self._requeue,
            Action.TRIGGER_CIRCUIT_BREAKER: self._mature,
            Action.LATE_PROBE: self._late_probe,
        }

    def __call__(self, seq: int, event: Event) -> None:
        self._seq = seq
        if event.action in CALLS and self._delivered is not None:
            self._view_is_whole()
        act = self._actions.get(event.action)
        if act is not None:
            act(event.inputs, event.decision)

    def _say(self, name: str, message: str) -> None:
        self._violated(Violation(name, self._seq, message))

    # --- rules and views ---

    def _apply_routes(self, inputs: Values, _: Values) -> None:
        self._routes = {route.name: route for route in cast(Sequence[Route], inputs["routes"])}

    def _apply_policies(self, inputs: Values, _: Values) -> None:
        self._policies = {policy.service: policy for policy in cast(Sequence[ServicePolicy], inputs["policies"])}

    def _apply_view(self, inputs: Values, _: Values) -> None:
        self._delivered = str(inputs["service"]), cast(Sequence[Instance], inputs.get("instances", ()))

    def _view_is_whole(self) -> None:
        assert self._delivered is not None
        service, view = self._delivered
        self._delivered = None
        wanted = {(service, str(each.key)): (each.health, each.endpoint) for each in view}
        held = {name: (each.health, each.place[2:]) for name, each in self._mirror.items() if name[0] == service}
        if wanted != held:
            missing = ", ".join(sorted(name for _, name in wanted.keys() ^ held.keys())) or "health or address"
            self._say("RegistryConsistency", f"the mirror of {service} is not the view that was delivered: {missing}")

    def _register(self, _: Values, decision: Values) -> None:
        name = _name(decision)
        if name in self._mirror:
            self._say("ValidServiceStates", f"{_shown(name)} was registered twice")
        self._mirror[name] = self._entry(decision, (*name, decision["address"], decision["port"]))
        self._circuits[name] = _Circuit()

    def _deregister(self, _: Values, decision: Values) -> None:
        name = _name(decision)
        if self._mirror.pop(name, None) is None:
            self._say("ValidServiceStates", f"{_shown(name)} was deregistered, but is not in the mirror")
        self._circuits.pop(name, None)
        self._spend(name)

    def _update(self, _: Values, decision: Values) -> None:
        name = _name(decision)
        before = self._mirror.get(name)
        if before is None:
            self._say("ValidServiceStates", f"{_shown(name)} changed, but is not in the mirror")
            return
        self._mirror[name] = self._entry(decision, before.place)

    def _entry(self, decision: Values, place: tuple[object, ...]) -> _Mirrored:
        health = _HEALTHS.get(str(decision["health"]))
        if health is None:
            self._say("ValidServiceStates", f"{decision['instance']} has the health {decision['health']!r}")
            health = Health.CRITICAL
        weights = cast(tuple[int, int], decision["weights"])
        tags, meta = cast(Sequence[str], decision["tags"]), cast(Mapping[str, str], decision["meta"])
        return _Mirrored(health, weights, frozenset(tags), meta, place)

    # --- tickets ---

    def _route_request(self, inputs: Values, decision: Values) -> None:
        number = cast(int, decision["ticket"])
        if number <= self._last_ticket:
            self._say("NoRequestLoss", f"ticket {number} was opened again")
        self._last_ticket = max(number, self._last_ticket)
        superseded = inputs.get("superseded")
        route = superseded if isinstance(superseded, Route) else self._routes.get(str(inputs["route"]))
        ticket = self._tickets[number] = _Ticket(route, _backend(decision))
        self._placed(number, ticket, decision)

    def _placed(self, number: int, ticket: _Ticket, decision: Values) -> None:
        if decision["do"] == "send":
            self._pick(number, ticket, decision)
        elif decision["do"] == "wait":
            self._wait(number, ticket)
        else:
            self._end(number, ticket)

    def _wait(self, number: int, ticket: _Ticket) -> None:
        route = ticket.route
        if route is not None:
            if self._queued[route.name] >= route.limits.queue:
                self._say(
                    "BoundedQueue",
                    f"ticket {number} is queued, but {self._queued[route.name]} wait on {route.name} already",
                )
            self._queued[route.name] += 1
        ticket.state = "queued"

    def _process_response(self, inputs: Values, decision: Values) -> None:
        found = self._known(inputs, {"attempting", "responding"})
        if found is None:
            return
        number, ticket = found
        if ticket.attempts != inputs["attempt"]:
            self._say("NoRequestLoss", f"ticket {number} has a result of attempt {inputs['attempt']}, which is over")
        judged, do = decision["judged"], decision["do"]
        counted = ticket.permit != "spent"
        self._judge(number, ticket, judged, decision["circuit"])
        if do in {"done", "break", "reject"}:
            if do == "done" and ticket.state != "responding":
                self._say("NoRequestLoss", f"ticket {number} is done without a response head")
            self._end(number, ticket)
            return
        if inputs["result"] == "head" and judged == "succeeded" and counted:
            ticket.permit = "ordinary"
        ticket.state = "responding" if do == "deliver" else "deciding"

    def _retry(self, _: Values, decision: Values) -> None:
        found = self._known(decision, {"deciding"})
        if found is None:
            return
        number, ticket = found
        if ticket.at is not None:
            ticket.tried.add(ticket.at[1])
        self._release(number, ticket)
        ticket.backend = _backend(decision)
        if ticket.route is not None and ticket.attempts >= ticket.route.retry.attempts:
            self._say("RetryElsewhere", f"ticket {number} is tried a {ticket.attempts + 1}th time, which is too often")
        self._placed(number, ticket, decision)

    def _deliver(self, _: Values, decision: Values) -> None:
        found = self._known(decision, {"deciding"})
        if found is not None:
            found[1].state = "responding"

    def _reject(self, _: Values, decision: Values) -> None:
        found = self._known(decision, {"deciding", "queued"})
        if found is not None:
            self._end(*found)

    def _refuse(self, inputs: Values, _: Values) -> None:
        found = self._known(inputs, {"attempting", "queued"})
        if found is not None:
            self._end(*found)

    def _abandon(self, inputs: Values, _: Values) -> None:
        found = self._known(inputs, {"attempting", "queued", "responding"})
        if found is not None:
            self._end(*found)

    def _dequeue(self, _: Values, decision: Values) -> None:
        found = self._known(decision, {"queued"})
        if found is not None:
            number, ticket = found
            self._unqueue(ticket)
            self._pick(number, ticket, decision)

    def _requeue(self, _: Values, decision: Values) -> None:
        found = self._known(decision, {"queued"})
        if found is not None:
            found[1].backend = _backend(decision)

    def _known(self, values: Values, states: set[str]) -> tuple[int, _Ticket] | None:
        """The ticket that is named, which has to be in one of these states."""
        number = cast(int, values["ticket"])
        ticket = self._tickets.get(number)
        if ticket is None:
            self._say("NoRequestLoss", f"ticket {number} has ended, or was never opened")
            return None
        if ticket.state not in states:
            self._say("NoRequestLoss", f"ticket {number} is {ticket.state}, which is not the time for this")
        return number, ticket

    def _end(self, number: int, ticket: _Ticket) -> None:
        if ticket.state == "queued":
            self._unqueue(ticket)
        self._release(number, ticket)
        del self._tickets[number]

    def _unqueue(self, ticket: _Ticket) -> None:
        if ticket.route is not None:
            _less(self._queued, ticket.route.name)

    def _release(self, number: int, ticket: _Ticket) -> None:
        if ticket.state not in _FLYING:
            return
        _less(self._flying, ticket.place)
        if ticket.route is not None:
            _less(self._in_flight, ticket.route.name)
        circuit = None if ticket.at is None else self._circuits.get(ticket.at)
        if circuit is not None and ticket.permit == "probe":
            circuit.probes.discard(number)
        ticket.permit = "spent"

    # --- picks ---

    def _pick(self, number: int, ticket: _Ticket, decision: Values) -> None:
        name, probe = _name(decision), bool(decision["probe"])
        self._routed(number, ticket, name)
        self._permitted(number, name, probe)
        entry = self._mirror.get(name)
        ticket.place = name if entry is None else entry.place
        policy, route = self._policy(name[0]), ticket.route
        if 0 < policy.in_flight_per_instance <= self._flying[ticket.place]:
            self._say(
                "AtMostOnePerInstance",
                f"ticket {number} goes to {_shown(name)}, which has {self._flying[ticket.place]} in flight",
            )
        if route is not None:
            if 0 < route.limits.in_flight <= self._in_flight[route.name]:
                self._say("BoundedQueue", f"ticket {number} goes out although {route.name} has its most in flight")
            self._in_flight[route.name] += 1
        if name[1] in ticket.tried and self._another(ticket):
            self._say("RetryElsewhere", f"ticket {number} goes to {_shown(name)} again, although another could take it")
        self._flying[ticket.place] += 1
        ticket.attempts += 1
        ticket.at, ticket.state, ticket.permit = name, "attempting", "probe" if probe else "ordinary"

    def _routed(self, number: int, ticket: _Ticket, name: _Name) -> None:
        entry, backend = self._mirror.get(name), ticket.backend
        if entry is None:
            self._say("RoutingCorrectness", f"ticket {number} goes to {_shown(name)}, which is not in the mirror")
        elif name[0] != backend.service or not _selects(backend, entry):
            self._say(
                "RoutingCorrectness", f"ticket {number} goes to {_shown(name)}, which its backend does not select"
            )
        elif not entry.fit and not self._panics(backend, entry):
            self._say("RoutingCorrectness", f"ticket {number} goes to {_shown(name)}, which is {entry.health}")
        elif ticket.route is not None and not _has(ticket.route, backend):
            self._say("RoutingCorrectness", f"ticket {number} goes to a backend that {ticket.route.name} does not have")

    def _panics(self, backend: _Backend, entry: _Mirrored) -> bool:
        if backend.panic is None or entry.health > backend.panic or not entry.weights[0]:
            return False
        return not any(each.fit for _, each in self._pool(backend))

    def _permitted(self, number: int, name: _Name, probe: bool) -> None:
        circuit, policy = self._circuits.setdefault(name, _Circuit()), self._policy(name[0]).circuit
        if policy.mode is CircuitMode.ENFORCE and (
            circuit.state == "open" or (circuit.state == "half_open" and not probe)
        ):
            self._say("CircuitBreakerSafety", f"ticket {number} passes the {circuit.state} circuit of {_shown(name)}")
        if probe:
            if circuit.state != "half_open" or len(circuit.probes) >= policy.half_open_probes:
                self._say(
                    "HalfOpenBounded",
                    f"ticket {number} probes {_shown(name)}, {circuit.state} with {len(circuit.probes)} probes out",
                )
            circuit.probes.add(number)

    def _another(self, ticket: _Ticket) -> bool:
        return any(
            name[1] not in ticket.tried and entry.fit and self._circuits[name].state == "closed"
            for name, entry in self._pool(ticket.backend)
        )

    def _pool(self, backend: _Backend) -> Iterator[tuple[_Name, _Mirrored]]:
        for name, entry in self._mirror.items():
            if name[0] == backend.service and _selects(backend, entry):
                yield name, entry

    # --- circuits ---

    def _judge(self, number: int, ticket: _Ticket, judged: object, event: object) -> None:
        name, permit = ticket.at, ticket.permit
        circuit = None if name is None else self._circuits.get(name)
        if circuit is None or name is None or judged is None or permit == "spent":
            if event is not None:
                self._say("ValidCircuitTransitions", f"ticket {number}, which says nothing any more, made a {event}")
            return
        ticket.permit = "spent"
        policy = self._policy(name[0]).circuit
        circuit.probes.discard(number)
        if judged == "failed" and policy.mode is CircuitMode.OFF:
            return
        if permit == "probe":
            self._judge_probe(name, circuit, judged == "failed", event, policy.half_open_probes)
        elif judged == "succeeded":
            circuit.failures = 0
        elif circuit.state == "closed":
            circuit.failures += 1
            self._judge_failure(name, circuit, event)

    def _judge_probe(self, name: _Name, circuit: _Circuit, failed: bool, event: object, wanted: int) -> None:
        circuit.passed += not failed
        due = "probe_failed" if failed else "probes_passed" if circuit.passed >= wanted else None
        if event != due or circuit.state != "half_open":
            self._say(
                "ValidCircuitTransitions",
                f"the {circuit.state} circuit of {_shown(name)} made {event} of a probe that calls for {due}",
            )
        if event is not None:
            self._turn(name, "open" if event == "probe_failed" else "closed")

    def _judge_failure(self, name: _Name, circuit: _Circuit, event: object) -> None:
        policy = self._policy(name[0]).circuit
        due = 0 < policy.consecutive_failures <= circuit.failures
        members = [(other, each) for other, each in self._mirror.items() if other[0] == name[0]]
        not_closed = sum(each.fit and self._circuits[other].state != "closed" for other, each in members)
        may_open = not_closed < int(policy.max_open * len(members) + _TOLERANCE)
        if event is None and due:
            self._say(
                "CircuitBreakerSafety", f"{_shown(name)} failed {circuit.failures} times in a row and stays closed"
            )
        if event == "held" and may_open:
            self._say("CircuitBreakerSafety", f"{_shown(name)} was held closed though max_open lets it open")
        if event == "trip":
            if not may_open:
                self._say(
                    "CircuitBreakerSafety", f"{_shown(name)} opened beyond max_open: {not_closed} were not closed"
                )
            if not due and not policy.failure_ratio:
                self._say("ValidCircuitTransitions", f"{_shown(name)} opened after {circuit.failures} failures")
            self._turn(name, "open")
        elif event not in {None, "held"}:
            self._say("ValidCircuitTransitions", f"a failed request made {event} of the circuit of {_shown(name)}")

    def _mature(self, _: Values, decision: Values) -> None:
        name = _name(decision)
        circuit = self._circuits.get(name)
        if circuit is None or circuit.state != "open":
            state = "missing" if circuit is None else circuit.state
            self._say("ValidCircuitTransitions", f"the circuit of {_shown(name)} matured, but is {state}")
        self._turn(name, "half_open")

    def _late_probe(self, _: Values, decision: Values) -> None:
        found = self._known(decision, {"attempting"})
        if found is not None:
            self._judge(*found, "failed", decision["circuit"])

    def _turn(self, name: _Name, state: str) -> None:
        self._circuits[name] = _Circuit(state)
        self._spend(name)

    def _spend(self, name: _Name) -> None:
        """What is in flight there is of a past epoch, and says nothing any more."""
        for ticket in self._tickets.values():
            if ticket.at == name and ticket.state in _FLYING:
                ticket.permit = "spent"

    def _policy(self, service: str) -> ServicePolicy:
        policy = self._policies.get(service)
        if policy is None:
            policy = self._policies[service] = ServicePolicy(service)
        return policy


def _name(decision: Values) -> _Name:
    return str(decision["service"]), str(decision["instance"])


def _shown(name: _Name) -> str:
    return f"{name[0]} {name[1]}"


def _backend(decision: Values) -> _Backend:
    backend = cast(Values, decision["backend"])
    tags, meta = cast(Sequence[str], backend["tags"]), cast(Mapping[str, str], backend["meta"])
    panic = backend["panic"]
    return _Backend(
        str(backend["service"]),
        frozenset(tags),
        tuple(sorted(meta.items())),
        None if panic is None else _HEALTHS[str(panic)],
    )


def _selects(backend: _Backend, entry: _Mirrored) -> bool:
    return backend.tags <= entry.tags and all(entry.meta.get(name) == value for name, value in backend.meta)


def _has(route: Route, backend: _Backend) -> bool:
    return any(
        each.weight and (each.service, each.tags, tuple(sorted(each.meta))) == backend[:3] for each in route.backends
    )


def _less(counter: Counter[tuple[object, ...]] | Counter[str], key: object) -> None:
    """One less; what is at nothing is forgotten, so that the account does not grow."""
    counts = cast(Counter[object], counter)
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
