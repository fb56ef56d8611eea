"""The core's own account of itself: one event for each action of the specification (`specs/GatewayImpl.tla`).

A *call* is what a shell asked for; the events after it, up to the next call, are what the core did of itself because
of it. An event is told at the moment its action takes effect, before anything that this sets off. With the same calls,
draws and hash points a core decides the same, so that a journal of events can be replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from gateway.core.breaker import CircuitEvent, Imposition, Judgement
from gateway.core.facts import TicketFacts
from gateway.core.model import HashOn, Instance, InstanceKey, Route, ServicePolicy
from gateway.core.pool import Pool
from gateway.core.serving import ANYBODY, Serving, Steering
from gateway.core.tickets import (
    Attempt,
    Broken,
    Deliver,
    Done,
    Failure,
    Head,
    Reject,
    Result,
    Send,
    Ticket,
    Wait,
)


class Action(StrEnum):
    """The actions, by their names in the specification."""

    APPLY_ROUTES = "ApplyRoutes"
    APPLY_POLICIES = "ApplyPolicies"
    APPLY_VIEW = "ApplyView"
    FORGET_SERVICE = "ForgetService"
    PREFER = "Prefer"
    IMPOSE_CIRCUIT = "ImposeCircuit"
    ROUTE_REQUEST = "RouteRequest"
    PROCESS_RESPONSE = "ProcessResponse"
    ABANDON = "Abandon"
    REFUSE = "Refuse"
    TICK = "Tick"

    REGISTER_SERVICE = "RegisterService"
    DEREGISTER_SERVICE = "DeregisterService"
    UPDATE_HEALTH = "UpdateHealth"
    RETRY = "Retry"
    DELIVER = "Deliver"
    REJECT = "Reject"
    DEQUEUE = "Dequeue"
    REQUEUE = "Requeue"
    TRIGGER_CIRCUIT_BREAKER = "TriggerCircuitBreaker"
    LATE_PROBE = "LateProbe"


CALLS = frozenset(
    {
        Action.APPLY_ROUTES,
        Action.APPLY_POLICIES,
        Action.APPLY_VIEW,
        Action.FORGET_SERVICE,
        Action.PREFER,
        Action.IMPOSE_CIRCUIT,
        Action.ROUTE_REQUEST,
        Action.PROCESS_RESPONSE,
        Action.ABANDON,
        Action.REFUSE,
        Action.TICK,
    }
)
"""What a shell asks for; the other actions follow from these."""

Values = Mapping[str, object]
"""Texts, numbers, None, and the core's frozen values."""

_NOTHING: Values = {}


class Event(NamedTuple):
    """One action. `now` is monotonic seconds; `draws` are the random numbers consumed since the event before."""

    now: float
    action: Action
    inputs: Values
    draws: Sequence[float]
    decision: Values


class _WatchedFacts:
    """A ticket's facts that note which hash points were asked of them; a header's value never gets into an event."""

    __slots__ = ("_facts", "_points", "method")

    def __init__(self, facts: TicketFacts, points: list[int | None]) -> None:
        self.method = facts.method
        self._facts = facts
        self._points = points

    def hash_point(self, on: HashOn) -> int | None:
        point = self._facts.hash_point(on)
        self._points.append(point)
        return point


class Recorder:
    """Turns what happens in a core into events. A core without one costs nothing for it."""

    def __init__(self, tell: Callable[[Event], None], draw: Callable[[], float]) -> None:
        self._tell = tell
        self._draw = draw
        self._draws: list[float] = []
        self._points: list[int | None] = []
        self.tickets: dict[int, Ticket] = {}
        """Those that have not ended."""

    def draw(self) -> float:
        """The shell's `draw`, noted down."""
        drawn = self._draw()
        self._draws.append(drawn)
        return drawn

    def watched(self, facts: TicketFacts) -> TicketFacts:
        return _WatchedFacts(facts, self._points)

    # --- calls ---

    def apply_routes(self, routes: Iterable[Route], now: float) -> None:
        self._event(now, Action.APPLY_ROUTES, {"routes": tuple(routes)})

    def apply_policies(self, policies: Iterable[ServicePolicy], now: float) -> None:
        self._event(now, Action.APPLY_POLICIES, {"policies": tuple(policies)})

    def apply_view(self, service: str, instances: Sequence[Instance], now: float) -> None:
        self._event(now, Action.APPLY_VIEW, {"service": service, "instances": instances})

    def forget_service(self, service: str, now: float) -> None:
        self._event(now, Action.FORGET_SERVICE, {"service": service})

    def prefer(self, node: str, now: float) -> None:
        self._event(now, Action.PREFER, {"node": node})

    def impose_circuit(self, service: str, key: InstanceKey, imposed: Imposition, taken: bool, now: float) -> None:
        """`taken` is whether anything came of it."""
        circuit = {
            "state": imposed.state.value,
            "openings": imposed.openings,
            "probes_passed": imposed.probes_passed,
            "open_until": imposed.open_until,
        }
        self._event(now, Action.IMPOSE_CIRCUIT, {"service": service, "key": key, **circuit}, {"taken": taken})

    def route_request(
        self, ticket: Ticket, decision: Send | Wait | Reject, steering: Steering | None, in_force: bool, now: float
    ) -> None:
        """A route that is not in force any more is told in full, since no `ApplyRoutes` need have told it."""
        if not isinstance(decision, Reject):
            self.tickets[ticket.id] = ticket
        route = ticket.route
        inputs = {"route": route.name, "version": route.version, "method": ticket.facts.method}
        known: Values = {} if in_force else {"superseded": route}
        said: Values = _NOTHING if steering is None else {"steering": _steering(steering)}
        placed = {"ticket": ticket.id, "backend": _backend(ticket.pool), **_placing(decision)}
        self._event(now, Action.ROUTE_REQUEST, {**inputs, **known, **said, **self._hash()}, placed)

    def process_response(
        self,
        attempt: Attempt,
        result: Result,
        judgement: Judgement,
        decision: Deliver | Done | Broken | Reject | None,
        now: float,
    ) -> None:
        """`decision` None: it may be tried again, which is decided next."""
        if decision is not None and not isinstance(decision, Deliver):
            del self.tickets[attempt.ticket.id]
        inputs = {"ticket": attempt.ticket.id, "attempt": attempt.number, **_result(result)}
        self._event(now, Action.PROCESS_RESPONSE, inputs, {**_judged(judgement), **_concluded(decision)})

    def abandon(self, ticket: Ticket, now: float) -> None:
        del self.tickets[ticket.id]
        self._event(now, Action.ABANDON, {"ticket": ticket.id})

    def refuse(self, rejection: Reject, now: float) -> None:
        del self.tickets[rejection.ticket.id]
        inputs = {"ticket": rejection.ticket.id, "reason": rejection.reason.value}
        self._event(now, Action.REFUSE, inputs, {"status": rejection.status})

    def tick(self, now: float) -> None:
        self._event(now, Action.TICK, _NOTHING)

    # --- what the core does of itself ---

    def register_service(self, instance: Instance, now: float) -> None:
        place = {"address": instance.address, "port": instance.port}
        self._event(now, Action.REGISTER_SERVICE, _NOTHING, {**_entry(instance), **place})

    def deregister_service(self, instance: Instance, now: float) -> None:
        gone = {"service": instance.service, "instance": str(instance.key)}
        self._event(now, Action.DEREGISTER_SERVICE, _NOTHING, gone)

    def update_health(self, instance: Instance, now: float) -> None:
        self._event(now, Action.UPDATE_HEALTH, _NOTHING, _entry(instance))

    def retry(self, ticket: Ticket, decision: Send | Wait, now: float) -> None:
        placed = {"ticket": ticket.id, "backend": _backend(ticket.pool), **_placing(decision)}
        self._event(now, Action.RETRY, self._hash(), placed)

    def deliver(self, ticket: Ticket, now: float) -> None:
        self._event(now, Action.DELIVER, _NOTHING, {"ticket": ticket.id})

    def reject(self, rejection: Reject, now: float) -> None:
        del self.tickets[rejection.ticket.id]
        self._event(now, Action.REJECT, _NOTHING, {"ticket": rejection.ticket.id, **_refusal(rejection)})

    def dequeue(self, sent: Send, now: float) -> None:
        placed = {"ticket": sent.attempt.ticket.id, **_placing(sent)}
        self._event(now, Action.DEQUEUE, self._hash(), placed)

    def requeue(self, ticket: Ticket, now: float) -> None:
        self._event(now, Action.REQUEUE, _NOTHING, {"ticket": ticket.id, "backend": _backend(ticket.pool)})

    def mature(self, service: str, key: InstanceKey, now: float) -> None:
        matured = {"service": service, "instance": str(key), "event": CircuitEvent.MATURE.value}
        self._event(now, Action.TRIGGER_CIRCUIT_BREAKER, _NOTHING, matured)

    def late_probe(self, attempt: Attempt, judgement: Judgement, now: float) -> None:
        late = {"ticket": attempt.ticket.id, "instance": str(attempt.instance.key)}
        self._event(now, Action.LATE_PROBE, _NOTHING, {**late, **_judged(judgement)})

    def _hash(self) -> Values:
        """The point that was asked of a request's facts since the event before, None where it has none."""
        if not self._points:
            return _NOTHING
        point = self._points.pop()
        self._points.clear()
        return {"hash": point}

    def _event(self, now: float, action: Action, inputs: Values, decision: Values = _NOTHING) -> None:
        draws: Sequence[float] = ()
        if self._draws:
            draws, self._draws = self._draws, []
        self._tell(Event(now, action, inputs, draws, decision))


def _entry(instance: Instance) -> Values:
    return {
        "service": instance.service,
        "instance": str(instance.key),
        "health": str(instance.health),
        "weights": (instance.weight_passing, instance.weight_warning),
        "tags": sorted(instance.tags),
        "meta": dict(instance.meta),
    }


def _backend(pool: Pool) -> Values:
    tags, meta, panic, serving = pool.selector
    return {
        "service": pool.service.name,
        "tags": sorted(tags),
        "meta": dict(meta),
        "panic": None if panic is None else str(panic),
        **({} if serving == ANYBODY else _serving(serving)),
    }


def _serving(serving: Serving) -> Values:
    only, preferred = serving
    return {"only": None if only is None else sorted(map(str, only)), "preferred": sorted(map(str, preferred))}


def _steering(steering: Steering) -> Values:
    return {"serving": [_keys(serving) for serving in steering.serving], "held": steering.held}


def _keys(serving: Serving) -> Values:
    only, preferred = serving
    return {"only": None if only is None else sorted(only), "preferred": sorted(preferred)}


def _placing(decision: Send | Wait | Reject) -> Values:
    if isinstance(decision, Send):
        attempt = decision.attempt
        return {
            "do": "send",
            "attempt": attempt.number,
            "service": attempt.instance.service,
            "instance": str(attempt.instance.key),
            "probe": attempt.permit.probe,
        }
    if isinstance(decision, Wait):
        return {"do": "wait", "until": decision.until}
    return {"do": "reject", **_refusal(decision)}


def _refusal(rejection: Reject) -> Values:
    return {"reason": rejection.reason.value, "status": rejection.status, "retry_after": rejection.retry_after}


def _result(result: Result) -> Values:
    if isinstance(result, Head):
        return {"result": "head", "status": result.status, "replayable": result.replayable}
    if isinstance(result, Failure):
        return {"result": "failure", "kind": result.kind.value, "replayable": result.replayable}
    return {"result": "end"}


def _judged(judgement: Judgement) -> Values:
    judged = None if judgement.failed is None else "failed" if judgement.failed else "succeeded"
    event = judgement.event
    return {"judged": judged, "circuit": "held" if judgement.held else None if event is None else event.value}


def _concluded(decision: Deliver | Done | Broken | Reject | None) -> Values:
    if decision is None:
        return {"do": "again"}
    if isinstance(decision, Reject):
        return {"do": "reject", "reason": decision.reason.value, "status": decision.status}
    return {"do": _ENDINGS[type(decision)]}


_ENDINGS = {Deliver: "deliver", Done: "done", Broken: "break"}
