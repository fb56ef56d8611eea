"""Watches the events of a running core for what its specification forbids.

It keeps its own account, of the events alone, and holds each decision against the safety properties of
`specs/GatewayProperties.tla`, under their names. It never stops the gateway: what it finds it tells, then believes
the event, so that one fault is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from gateway.core.events import CALLS, Action, Event, Values
from gateway.core.model import Route, ServicePolicy
from gateway.journal.account import Account, Backend, Member, Name, Ticket, name_of, shown
from gateway.journal.circuit_checks import CircuitChecks
from gateway.journal.mirror_checks import MirrorChecks
from gateway.journal.properties import Property, Violation

_MEANINGFUL: Mapping[tuple[object, str], frozenset[str]] = {
    ("head", "attempting"): frozenset({"deliver", "again"}),
    ("failure", "attempting"): frozenset({"again", "reject", "break"}),
    ("failure", "responding"): frozenset({"break"}),
    ("end", "responding"): frozenset({"done"}),
}
"""By result and the ticket's state, what may be decided."""
_NOTHING: frozenset[str] = frozenset()
_DECIDING = frozenset({"retry_or_deliver", "retry_or_reject"})


class Monitor:
    """Listens to all events of one core, from its first on."""

    def __init__(self, violated: Callable[[Violation], None]) -> None:
        self._violated = violated
        self._seq = self._call = 0
        self._account = Account()
        self._mirror = MirrorChecks(self._account, self._say)
        self._circuits = CircuitChecks(self._account, self._say)
        self._last_ticket = 0
        self._undecided: Ticket | None = None
        """One that may be tried again, as the call at hand said."""
        self._actions: dict[Action, Callable[[Values, Values], None]] = {
            Action.APPLY_ROUTES: self._apply_routes,
            Action.APPLY_POLICIES: self._apply_policies,
            Action.APPLY_VIEW: lambda inputs, _: self._mirror.delivers(inputs),
            Action.FORGET_SERVICE: lambda inputs, _: self._mirror.delivers(inputs),
            Action.REGISTER_SERVICE: lambda _, decision: self._mirror.registers(decision),
            Action.DEREGISTER_SERVICE: lambda _, decision: self._mirror.deregisters(decision),
            Action.UPDATE_HEALTH: lambda _, decision: self._mirror.updates(decision),
            Action.IMPOSE_CIRCUIT: self._circuits.imposes,
            Action.ROUTE_REQUEST: self._route_request,
            Action.PROCESS_RESPONSE: self._process_response,
            Action.RETRY: self._retry,
            Action.DELIVER: self._deliver,
            Action.REJECT: self._reject,
            Action.REFUSE: self._refuse,
            Action.ABANDON: self._abandon,
            Action.DEQUEUE: self._dequeue,
            Action.REQUEUE: self._requeue,
            Action.TRIGGER_CIRCUIT_BREAKER: lambda _, decision: self._circuits.matures(decision),
            Action.LATE_PROBE: self._late_probe,
        }

    def __call__(self, seq: int, event: Event) -> None:
        if event.action in CALLS:
            self._call_is_over()
            self._call = seq
        self._seq = seq
        act = self._actions.get(event.action)
        if act is not None:
            act(event.inputs, event.decision)

    def _say(self, name: Property, message: str) -> None:
        self._violated(Violation(name, self._seq, message))

    def _call_is_over(self) -> None:
        """What a call leads to has to be there when the next one comes; what is not, is told with its own number."""
        self._seq = self._call
        self._mirror.call_is_over()
        ticket, self._undecided = self._undecided, None
        if ticket is not None and ticket.state in _DECIDING:
            self._lost(f"ticket {ticket.number} was neither tried again nor answered")

    # --- rules ---

    def _apply_routes(self, inputs: Values, _: Values) -> None:
        self._account.routes = {route.name: route for route in cast(Sequence[Route], inputs["routes"])}

    def _apply_policies(self, inputs: Values, _: Values) -> None:
        policies = cast(Sequence[ServicePolicy], inputs["policies"])
        self._account.policies = {policy.service: policy for policy in policies}

    # --- tickets ---

    def _route_request(self, inputs: Values, decision: Values) -> None:
        number = cast(int, decision["ticket"])
        if number <= self._last_ticket:
            self._say(Property.NO_REQUEST_LOSS, f"ticket {number} was opened again")
        self._last_ticket = max(number, self._last_ticket)
        superseded = inputs.get("superseded")
        route = superseded if isinstance(superseded, Route) else self._account.routes.get(str(inputs["route"]))
        if route is None or route.version != inputs["version"]:
            self._say(
                Property.ROUTING_CORRECTNESS,
                f"ticket {number} is of version {inputs['version']} of {inputs['route']}, which is not in force",
            )
        ticket = self._account.tickets[number] = Ticket(number, route, Backend.of(decision))
        self._placed(ticket, decision)

    def _placed(self, ticket: Ticket, decision: Values) -> None:
        if decision["do"] == "send":
            self._pick(ticket, decision)
        elif decision["do"] == "wait":
            self._wait(ticket)
        else:
            self._account.ends(ticket)

    def _wait(self, ticket: Ticket) -> None:
        route, queued = ticket.route, self._account.queued
        if route is not None and queued[route.name] >= route.limits.queue:
            self._say(
                Property.BOUNDED_QUEUE,
                f"ticket {ticket.number} is queued, but {queued[route.name]} wait on {route.name} already",
            )
        self._account.queues(ticket)

    def _process_response(self, inputs: Values, decision: Values) -> None:
        ticket = self._known(inputs, {"attempting", "responding"})
        if ticket is None:
            return
        number, result, do = ticket.number, inputs["result"], str(decision["do"])
        if ticket.attempts != inputs["attempt"]:
            self._lost(f"ticket {number} has a result of attempt {inputs['attempt']}, which is over")
        if do not in _MEANINGFUL.get((result, ticket.state), _NOTHING):
            self._lost(f"ticket {number} is {ticket.state}: {do} is no answer to {result}")
        self._circuits.answers(ticket, inputs, decision)
        if do in {"done", "break", "reject"}:
            self._account.ends(ticket)
        elif do == "deliver":
            ticket.state = "responding"
        else:
            ticket.state = "retry_or_deliver" if result == "head" else "retry_or_reject"
            self._undecided = ticket

    def _retry(self, _: Values, decision: Values) -> None:
        ticket = self._known(decision, _DECIDING)
        if ticket is None:
            return
        if ticket.member is not None:
            ticket.tried.add(ticket.member.name[1])
        self._account.releases(ticket)
        ticket.backend = Backend.of(decision)
        if ticket.route is not None and ticket.attempts >= ticket.route.retry.attempts:
            self._say(
                Property.RETRY_ELSEWHERE,
                f"ticket {ticket.number} is tried a {ticket.attempts + 1}th time, which is too often",
            )
        self._placed(ticket, decision)

    def _deliver(self, _: Values, decision: Values) -> None:
        ticket = self._known(decision, {"retry_or_deliver"})
        if ticket is not None:
            ticket.state = "responding"

    def _reject(self, _: Values, decision: Values) -> None:
        self._ends(decision, {"retry_or_reject", "queued"})

    def _refuse(self, inputs: Values, _: Values) -> None:
        self._ends(inputs, {"attempting", "queued"})

    def _abandon(self, inputs: Values, _: Values) -> None:
        self._ends(inputs, {"attempting", "queued", "responding"})

    def _dequeue(self, _: Values, decision: Values) -> None:
        ticket = self._known(decision, {"queued"})
        if ticket is not None:
            self._pick(ticket, decision)

    def _requeue(self, _: Values, decision: Values) -> None:
        ticket = self._known(decision, {"queued"})
        if ticket is not None:
            ticket.backend = Backend.of(decision)

    def _late_probe(self, _: Values, decision: Values) -> None:
        ticket = self._known(decision, {"attempting"})
        if ticket is not None:
            self._circuits.judges(ticket, "failed", decision["circuit"])

    def _ends(self, values: Values, states: set[str]) -> None:
        ticket = self._known(values, states)
        if ticket is not None:
            self._account.ends(ticket)

    def _known(self, values: Values, states: set[str] | frozenset[str]) -> Ticket | None:
        """The ticket that is named, which has to be in one of these states."""
        number = cast(int, values["ticket"])
        ticket = self._account.tickets.get(number)
        if ticket is None:
            self._lost(f"ticket {number} has ended, or was never opened")
        elif ticket.state not in states:
            self._lost(f"ticket {number} is {ticket.state}, which is not the time for this")
        return ticket

    def _lost(self, message: str) -> None:
        self._say(Property.NO_REQUEST_LOSS, message)

    # --- picks ---

    def _pick(self, ticket: Ticket, decision: Values) -> None:
        account, route, name = self._account, ticket.route, name_of(decision)
        member, probe = account.member(name), bool(decision["probe"])
        if decision["attempt"] != ticket.attempts + 1:
            self._lost(f"attempt {decision['attempt']} of ticket {ticket.number} comes after {ticket.attempts}")
        self._routed(ticket, name, member)
        if member is not None:
            self._circuits.permits(ticket, member, probe)
        flying = account.flying[name if member is None else member.place]
        if 0 < account.policy(name[0]).in_flight_per_instance <= flying:
            self._say(
                Property.AT_MOST_ONE_PER_INSTANCE,
                f"ticket {ticket.number} goes to {shown(name)}, which has {flying} in flight",
            )
        if route is not None and 0 < route.limits.in_flight <= account.in_flight[route.name]:
            self._say(
                Property.IN_FLIGHT_BOUNDED,
                f"ticket {ticket.number} goes out although {route.name} has its most in flight",
            )
        if name[1] in ticket.tried and self._another(ticket):
            self._say(
                Property.RETRY_ELSEWHERE,
                f"ticket {ticket.number} goes to {shown(name)} again, although another could take it",
            )
        account.sends(ticket, member, name, probe)

    def _routed(self, ticket: Ticket, name: Name, member: Member | None) -> None:
        backend, route, problem = ticket.backend, ticket.route, None
        if member is None:
            problem = f"{shown(name)}, which is not in the mirror"
        elif name[0] != backend.service or not backend.selects(member):
            problem = f"{shown(name)}, which its backend does not select"
        elif not member.fit and not self._panics(backend, member):
            problem = f"{shown(name)}, which is {member.health}"
        elif route is not None and not _has(route, backend):
            problem = f"a backend that {route.name} does not have"
        if problem is not None:
            self._say(Property.ROUTING_CORRECTNESS, f"ticket {ticket.number} goes to {problem}")

    def _panics(self, backend: Backend, member: Member) -> bool:
        if backend.panic is None or member.health > backend.panic or not member.weights[0]:
            return False
        return not any(each.fit for each in self._account.pool(backend))

    def _another(self, ticket: Ticket) -> bool:
        return any(
            member.name[1] not in ticket.tried and member.fit and self._circuits.lets_pass(member)
            for member in self._account.pool(ticket.backend)
        )


def _has(route: Route, backend: Backend) -> bool:
    return route.when_empty.panic is backend.panic and any(
        each.weight
        and (each.service, each.tags, tuple(sorted(each.meta))) == backend[:3]
        and (backend.only is not None or each.instances is None or each.any_otherwise)
        for each in route.backends
    )
