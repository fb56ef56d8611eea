"""A seeded simulation of the whole core under a virtual clock: what Consul, instances, clients and operators may do.

Everything follows from the seed: `python -m tests.spec.simulation --seed 7 --steps 20000` runs one again.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count

import msgspec

from gateway.core.breaker import CircuitState, Imposition
from gateway.core.events import Event
from gateway.core.gateway import Gateway
from gateway.core.model import (
    Backend,
    Balance,
    BalancePolicy,
    CircuitMode,
    CircuitPolicy,
    FailureKind,
    HashOn,
    HashSource,
    Health,
    Instance,
    Limits,
    Reason,
    RetryPolicy,
    Route,
    ServicePolicy,
    WhenEmpty,
)
from gateway.core.serving import Serving, Steering
from gateway.core.tickets import Attempt, Broken, Deliver, Done, End, Failure, Head, Reject, Send, Ticket, Wait
from tests.unit.core_support import compile_regex, facts, instance

SERVICES = ("orders", "stock")
ATTEMPT_TIMEOUT = 1.0
_IDLE_TIMEOUT = 3.0
_HEALTHS = (*[Health.PASSING] * 4, Health.WARNING, Health.CRITICAL, Health.MAINTENANCE)
_REALITIES = (*["well"] * 5, "failing", "failing", "hung", "slow")


@dataclass(slots=True)
class Backing:
    """An instance as it really is, and as Consul has it."""

    name: str
    service: str
    port: int
    health: Health = Health.PASSING
    weight: int = 1
    registered: bool = True
    reality: str = "well"
    canary: bool = False

    def as_mirrored(self) -> Instance:
        return instance(
            self.name,
            self.weight,
            service=self.service,
            port=self.port,
            health=self.health,
            tags=("canary",) if self.canary else (),
        )


@dataclass(slots=True)
class Tally:
    """What happened, to see that a run reaches what it should."""

    outcomes: Counter[str] = field(default_factory=Counter)
    circuit: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    retried_elsewhere: int = 0
    abandoned_in_queue: int = 0


class Simulation:
    """One run. `tell` gets every event; `rate` is requests a second, `size` instances of a service; `shared` is whether
    it is one worker of several, which open, close and hand on circuits."""

    def __init__(
        self, seed: int, tell: Callable[[Event], None], *, rate: float = 30.0, size: int = 3, shared: bool = False
    ) -> None:
        self._random = random.Random(seed)
        self._tell = tell
        self.tally = Tally()
        self.now = 100.0
        self.core = Gateway(compile_regex, random.Random(seed + 1).random, None, None, self._told)
        self._rate = rate
        self._shared = shared
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._version = count(1)
        self._ports = count(9000)
        self.live: dict[int, Ticket] = {}
        self.churning = True
        self._backings = [
            Backing(f"{service}{number}", service, next(self._ports), canary=number == 0)
            for service in SERVICES
            for number in range(size)
        ]
        self._routes = {name: self._route(name) for name in ("r1", "r2", "r3")}
        self._policies = {service: self._policy(service) for service in SERVICES}
        self._begin()

    def _begin(self) -> None:
        self.core.apply_policies(dict(self._policies), self.now)
        self.core.apply_routes(self._routes.values(), self.now)
        for service in SERVICES:
            self._deliver(service)
        self._take()
        self._later(0.0, self._arrive)
        for change, mean in (
            (self._flap, 0.4),
            (self._turn, 0.6),
            (self._churn, 1.5),
            (self._edit_route, 4.0),
            (self._edit_policy, 5.0),
            (self._lose_all, 20.0),
        ):
            self._repeat(change, mean)
        if self._shared:
            self._repeat(self._impose, 0.3)

    # --- time ---

    def run(self, steps: int) -> None:
        """Takes so many steps: what is due next, or the core's own tick."""
        for _ in range(steps):
            deadline = self.core.next_deadline
            if deadline is not None and deadline <= self._due[0][0]:
                self.now = max(self.now, deadline)
                self.core.tick(self.now)
            else:
                when, _, act = heappop(self._due)
                self.now = max(self.now, when)
                act()
            self._take()

    def calm(self) -> None:
        """All is well from here on: instances, Consul, and the rules as they are, with a route to every service, so
        that no circuit lacks the requests that close it."""
        self.churning = False
        for backing in self._backings:
            backing.registered, backing.reality, backing.health, backing.weight = True, "well", Health.PASSING, 1
        self._policies = {service: ServicePolicy(service) for service in SERVICES}
        self.core.apply_policies(dict(self._policies), self.now)
        everywhere = Route("r4", next(self._version), tuple(map(Backend, SERVICES)))
        self.core.apply_routes([*self.core.table.routes.values(), everywhere], self.now)
        for service in SERVICES:
            self._deliver(service)
        for view in tuple(self.core.circuits()):
            if view.elsewhere:
                self.core.impose_circuit(view.service, view.key, Imposition(CircuitState.CLOSED), self.now)
        self._take()

    def circuits_closed(self) -> bool:
        return all(view.state is CircuitState.CLOSED for view in self.core.circuits())

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        heappush(self._due, (self.now + seconds, next(self._order), act))

    def _repeat(self, change: Callable[[], None], mean: float) -> None:
        def act() -> None:
            if self.churning:
                change()
                self._repeat(change, mean)

        self._later(self._random.expovariate(1 / mean), act)

    # --- clients ---

    def _arrive(self) -> None:
        self._later(self._random.expovariate(self._rate), self._arrive)
        table = self.core.table.routes
        if not table:
            return
        route = table[self._random.choice(sorted(table))]
        if self._random.random() < 0.05:
            route = self._superseded(route)
        request = facts(self._random.choice(("GET", "GET", "POST")), client_ip=f"192.0.2.{self._random.randrange(9)}")
        decision = self.core.route_request(route, request, self.now, self._steering(route))
        if isinstance(decision, Send | Wait):
            ticket = decision.attempt.ticket if isinstance(decision, Send) else decision.ticket
            self.live[ticket.id] = ticket
            if self._random.random() < 0.08:
                self._later(self._random.expovariate(4.0), lambda: self._leave(ticket))
        self._decided(decision)

    def _steering(self, route: Route) -> Steering | None:
        """What predicates and cookies might come to: any instances, or once it is calm all, and some preferred."""
        if not route.steers:
            return None
        standings = self.core.standings(route, self.now)
        serving = []
        for backend, instances, _ in standings:
            keys = [instance.key for instance in instances if not self.churning or self._random.random() < 0.7]
            preferred = frozenset(key for key in keys if self._random.random() < 0.3)
            serving.append(Serving(frozenset(keys) if backend.instances else None, preferred))
        held = self._random.randrange(len(serving)) if self._random.random() < 0.3 else None
        return Steering(tuple(serving), held)

    def _superseded(self, route: Route) -> Route:
        """A version that was in force when the request was matched, and is not any more."""
        return replace(route, version=next(self._version) + 1_000_000)

    def _leave(self, ticket: Ticket) -> None:
        if ticket.id not in self.live:
            return
        if ticket.attempt is None:
            self.tally.abandoned_in_queue += 1
        if self._random.random() < 0.1 and ticket.state.value in {"queued", "attempting"}:
            self._decided(self.core.reject(ticket, Reason.REQUEST_TIMEOUT, self.now))
            return
        self.core.abandon(ticket, self.now)
        self._ended(ticket, "abandoned")

    # --- instances ---

    def _attempt(self, attempt: Attempt) -> None:
        if attempt.ticket.tried and attempt.instance.key not in attempt.ticket.tried:
            self.tally.retried_elsewhere += 1
        drawn = self._random.random()
        reality = self._reality(attempt.instance)
        replayable = drawn < 0.9
        if drawn < 0.02:
            self._answer(0.001, attempt, Failure(FailureKind.STALE_CONNECTION, replayable=True))
        elif reality == "hung":
            self._answer(ATTEMPT_TIMEOUT, attempt, Failure(FailureKind.TIMEOUT, replayable))
        elif reality == "failing" and drawn < 0.5:
            kind = FailureKind.CONNECT_FAILURE if drawn < 0.3 else FailureKind.RESET
            self._answer(0.002, attempt, Failure(kind, replayable))
        elif reality == "failing":
            self._answer(0.01, attempt, Head(503, replayable))
        else:
            status = 101 if drawn > 0.99 else 200
            self._answer(
                self._random.expovariate(2.0 if reality == "slow" else 20.0), attempt, Head(status, replayable)
            )

    def _reality(self, where: Instance) -> str:
        return next((each.reality for each in self._backings if each.port == where.port), "failing")

    def _answer(self, seconds: float, attempt: Attempt, result: Head | Failure | End) -> None:
        self._later(seconds, lambda: self._report(attempt, result))

    def _report(self, attempt: Attempt, result: Head | Failure | End) -> None:
        ticket = attempt.ticket
        if ticket.id not in self.live or ticket.attempt is not attempt:
            return
        decision = self.core.process_response(attempt, result, self.now)
        if isinstance(decision, Deliver):
            cut = self._random.random() < 0.03
            ending = Failure(FailureKind.TRUNCATED, replayable=False) if cut else End()
            self._answer(min(self._random.expovariate(15.0), _IDLE_TIMEOUT), attempt, ending)
        elif isinstance(decision, Done | Broken):
            self._ended(ticket, "responded" if isinstance(decision, Done) else "broken")
        else:
            self._decided(decision)

    def _decided(self, decision: Send | Wait | Reject) -> None:
        if isinstance(decision, Send):
            self._attempt(decision.attempt)
        elif isinstance(decision, Reject):
            self._ended(decision.ticket, decision.reason.value)

    def _ended(self, ticket: Ticket, outcome: str) -> None:
        self.live.pop(ticket.id, None)
        self.tally.outcomes[outcome] += 1

    def _take(self) -> None:
        for decision in self.core.take_woken():
            self._decided(decision)

    # --- Consul and operators ---

    def _deliver(self, service: str) -> None:
        view = [each.as_mirrored() for each in self._backings if each.service == service and each.registered]
        self.core.apply_view(service, view, self.now)

    def _flap(self) -> None:
        backing = self._random.choice(self._backings)
        backing.health = self._random.choice(_HEALTHS)
        backing.weight = self._random.choice((1, 1, 2, 5, 0))
        self._deliver(backing.service)

    def _turn(self) -> None:
        self._random.choice(self._backings).reality = self._random.choice(_REALITIES)

    def _churn(self) -> None:
        backing = self._random.choice(self._backings)
        backing.registered = not backing.registered
        if backing.registered and self._random.random() < 0.4:
            backing.port = next(self._ports)
        self._deliver(backing.service)

    def _lose_all(self) -> None:
        """An agent that came back empty, believed; or a service that no route names for a moment."""
        service = self._random.choice(SERVICES)
        if self._random.random() < 0.5:
            self.core.apply_view(service, (), self.now)
        else:
            self.core.forget_service(service, self.now)
        self._later(0.5, lambda: self._deliver(service))

    def _impose(self) -> None:
        """What other workers may make of a circuit; sometimes of one that they cannot know to be this worker's own."""
        backing, state = self._random.choice(self._backings), self._random.choice(tuple(CircuitState))
        imposed = Imposition(state, self._random.choice((0, 1, 2)), 0, self.now + self._random.expovariate(1.0))
        self.core.impose_circuit(backing.service, backing.as_mirrored().key, imposed, self.now)

    def _edit_route(self) -> None:
        name = self._random.choice(sorted(self._routes))
        self._routes[name] = self._route(name)
        names = [each for each in self._routes if self._random.random() < 0.9]
        self.core.apply_routes([self._routes[each] for each in names], self.now)

    def _edit_policy(self) -> None:
        service = self._random.choice(SERVICES)
        self._policies[service] = self._policy(service)
        self.core.apply_policies(dict(self._policies), self.now)

    def _route(self, name: str) -> Route:
        pick = self._random.choice
        backends = [Backend(pick(SERVICES), pick((1, 3)), frozenset(pick(((), (), ("canary",)))))]
        if pick((True, False)):
            backends.append(Backend(pick(SERVICES), pick((1, 2, 0)), fallback=pick((True, False, False))))
        if pick((True, False, False)):
            backends[0] = replace(backends[0], instances="true", any_otherwise=pick((True, False)))
        return Route(
            name,
            next(self._version),
            tuple(backends),
            limits=Limits(in_flight=pick((0, 2, 4)), queue=pick((0, 2, 5)), queue_timeout=pick((0.2, 1.0))),
            retry=RetryPolicy(attempts=pick((1, 2, 3)), on_statuses=pick((frozenset[int](), frozenset({503})))),
            when_empty=WhenEmpty(panic=pick((None, None, Health.CRITICAL))),
        )

    def _policy(self, service: str) -> ServicePolicy:
        pick = self._random.choice
        circuit = CircuitPolicy(
            consecutive_failures=pick((1, 2, 3)),
            failure_ratio=pick((0.0, 0.5)),
            min_requests=4,
            window=2.0,
            open_for=pick((0.5, 1.0)),
            max_open_for=3.0,
            half_open_probes=pick((1, 2)),
            max_open=pick((1.0, 1.0, 0.5)),
            mode=pick((*[CircuitMode.ENFORCE] * 4, CircuitMode.SHADOW, CircuitMode.OFF)),
        )
        balance = pick(
            (
                Balance(),
                Balance(BalancePolicy.LEAST_REQUEST),
                Balance(BalancePolicy.RING_HASH, HashOn(HashSource.CLIENT_IP)),
            )
        )
        return ServicePolicy(
            service,
            next(self._version),
            circuit,
            balance,
            in_flight_per_instance=pick((0, 1, 2)),
            slow_start=pick((0.0, 0.0, 1.0)),
        )

    def _told(self, event: Event) -> None:
        self.tally.actions[event.action] += 1
        circuit = event.decision.get("circuit")
        if isinstance(circuit, str):
            self.tally.circuit[circuit] += 1
        self._tell(event)


def events(seed: int, steps: int, *, rate: float = 30.0, size: int = 3, shared: bool = False) -> Sequence[Event]:
    """All events of one run."""
    told: list[Event] = []
    Simulation(seed, told.append, rate=rate, size=size, shared=shared).run(steps)
    return told


def line(seq: int, event: Event) -> bytes:
    """An event as a journal holds it."""
    fields = {"v": 1, "worker": 0, "seq": seq, **event._asdict()}
    return msgspec.json.encode(fields)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--shared", action="store_true", help="one worker of several")
    parser.add_argument("--verbose", action="store_true", help="print every event")
    asked = parser.parse_args()
    numbers = count(1)

    def tell(event: Event) -> None:
        if asked.verbose:
            print(line(next(numbers), event).decode())

    simulation = Simulation(asked.seed, tell, shared=asked.shared)
    simulation.run(asked.steps)
    print(simulation.tally)


if __name__ == "__main__":
    main()
