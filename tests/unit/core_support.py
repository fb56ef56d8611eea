"""Builders for what the core is given, and a driver that plays the shell: it keeps the time and takes what is woken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle

from multidict import CIMultiDict

from gateway.core.events import Event
from gateway.core.facts import RequestFacts
from gateway.core.gateway import Gateway
from gateway.core.model import (
    Backend,
    Balance,
    CircuitMode,
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
from gateway.core.registry import ViewDifference
from gateway.core.serving import Steering
from gateway.core.tickets import (
    Attempt,
    Broken,
    Deliver,
    Done,
    End,
    Failure,
    Head,
    Reject,
    Result,
    Send,
    Ticket,
    Wait,
)
from gateway.core.views import CircuitChange, CircuitView

STEADY = CircuitPolicy(mode=CircuitMode.OFF)
"""For tests that are about something else than circuits."""

ONE_STRIKE = CircuitPolicy(consecutive_failures=1, failure_ratio=0.0, open_for=10.0, max_open_for=60.0)

_LIMITS = Limits()
_RETRY = RetryPolicy()
_WHEN_EMPTY = WhenEmpty()
_CIRCUIT = CircuitPolicy()
_BALANCE = Balance()


def compile_regex(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def key(name: str, node: str = "n1") -> InstanceKey:
    return InstanceKey("dc1", node, name)


def instance(
    name: str,
    weight: int = 1,
    *,
    service: str = "orders",
    node: str = "n1",
    port: int | None = None,
    health: Health = Health.PASSING,
    warning: int = 1,
    tags: Iterable[str] = (),
    meta: Mapping[str, str] | None = None,
) -> Instance:
    """An instance whose port is a function of its name, unless given."""
    return Instance(
        key=key(name, node),
        service=service,
        address="127.0.0.1",
        port=port if port is not None else 1024 + sum(map(ord, name)) % 60000,
        health=health,
        weight_passing=weight,
        weight_warning=warning,
        tags=frozenset(tags),
        meta=meta or {},
    )


def route(
    name: str = "r",
    *backends: Backend | str,
    version: int = 1,
    limits: Limits = _LIMITS,
    retry: RetryPolicy = _RETRY,
    when_empty: WhenEmpty = _WHEN_EMPTY,
) -> Route:
    """A route to those backends, or to the service `orders`."""
    shares = tuple(Backend(each) if isinstance(each, str) else each for each in backends or ("orders",))
    return Route(name, version, shares, limits=limits, retry=retry, when_empty=when_empty)


def facts(
    method: str = "GET", *, client_ip: str = "192.0.2.1", headers: Sequence[tuple[str, str]] = (), path: str = "/"
) -> RequestFacts:
    return RequestFacts(method, "example.com", path, "", CIMultiDict(headers), client_ip)


def policy(
    service: str = "orders",
    *,
    circuit: CircuitPolicy = _CIRCUIT,
    balance: Balance = _BALANCE,
    cap: int = 0,
    slow_start: float = 0.0,
) -> ServicePolicy:
    return ServicePolicy(service, circuit=circuit, balance=balance, in_flight_per_instance=cap, slow_start=slow_start)


def draws(*values: float) -> Callable[[], float]:
    """Those numbers for ever, in turn."""
    return cycle(values or (0.5,)).__next__


def no_jitter() -> float:
    return 0.0


class Shell:
    """A shell round one core: `now` moves when told to, woken decisions gather in `woken` by ticket id."""

    def __init__(
        self,
        *,
        draw: Callable[[], float] = lambda: 0.5,
        prefer_node: str | None = None,
        now: float = 100.0,
        trace: Callable[[Event], None] | None = None,
    ) -> None:
        self.now = now
        self.changes: list[CircuitChange] = []
        self.core = Gateway(compile_regex, draw, self.changes.append, prefer_node, trace)
        self.woken: dict[int, Send | Reject] = {}

    # --- the world ---

    def routes(self, *routes: Route) -> None:
        self.core.apply_routes(routes, self.now)
        self._take()

    def policies(self, *policies: ServicePolicy) -> None:
        self.core.apply_policies({each.service: each for each in policies}, self.now)
        self._take()

    def view(self, *instances: Instance, service: str = "orders") -> ViewDifference:
        difference = self.core.apply_view(service, instances, self.now)
        self._take()
        return difference

    def forget(self, service: str = "orders") -> None:
        self.core.forget_service(service, self.now)
        self._take()

    def wait(self, seconds: float) -> None:
        """Lets time pass, ticking whenever the core asked for it, as the shell's timer does."""
        until = self.now + seconds
        deadline = self.core.next_deadline
        while deadline is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.core.tick(self.now)
            self._take()
            after = self.core.next_deadline
            assert after is None or after > self.now, "a tick did not do what was due"
            deadline = after
        self.now = until

    # --- requests ---

    def request(
        self, route: Route, request: RequestFacts | None = None, steering: Steering | None = None
    ) -> Send | Wait | Reject:
        decision = self.core.route_request(route, request or facts(), self.now, steering)
        self._take()
        return decision

    def send(self, route: Route, request: RequestFacts | None = None) -> Attempt:
        """A request that has to be sent at once."""
        decision = self.request(route, request)
        assert isinstance(decision, Send), decision
        return decision.attempt

    def queued(self, route: Route, request: RequestFacts | None = None) -> Ticket:
        decision = self.request(route, request)
        assert isinstance(decision, Wait), decision
        return decision.ticket

    def refused(self, route: Route, request: RequestFacts | None = None) -> Reject:
        decision = self.request(route, request)
        assert isinstance(decision, Reject), decision
        return decision

    def report(self, attempt: Attempt, result: Result) -> Deliver | Send | Wait | Reject | Broken | Done:
        decision = self.core.process_response(attempt, result, self.now)
        self._take()
        return decision

    def head(self, attempt: Attempt, status: int = 200, *, replayable: bool = True) -> object:
        return self.report(attempt, Head(status, replayable))

    def end(self, attempt: Attempt) -> None:
        assert isinstance(self.report(attempt, End()), Done)

    def answer(self, attempt: Attempt, status: int = 200) -> None:
        """Head and end, with no retry in between."""
        assert isinstance(self.head(attempt, status, replayable=False), Deliver)
        self.end(attempt)

    def fail(
        self, attempt: Attempt, kind: FailureKind = FailureKind.RESET, *, replayable: bool = False
    ) -> Send | Wait | Reject | Broken:
        decision = self.report(attempt, Failure(kind, replayable))
        assert isinstance(decision, Send | Wait | Reject | Broken)
        return decision

    def retried(self, attempt: Attempt, kind: FailureKind = FailureKind.CONNECT_FAILURE) -> Attempt:
        """A failure whose retry has to be sent at once."""
        decision = self.fail(attempt, kind, replayable=True)
        assert isinstance(decision, Send), decision
        return decision.attempt

    def abandon(self, ticket: Ticket) -> None:
        self.core.abandon(ticket, self.now)
        self._take()

    def reject(self, ticket: Ticket, reason: Reason) -> Reject:
        rejection = self.core.reject(ticket, reason, self.now)
        self._take()
        return rejection

    def picks(self, route: Route, count: int, request: RequestFacts | None = None) -> list[str]:
        """The names of the instances that answered so many requests, one after the other."""
        names = []
        for _ in range(count):
            attempt = self.send(route, request)
            names.append(attempt.instance.key.service_id)
            self.answer(attempt)
        return names

    def shares(self, route: Route, count: int) -> Counter[str]:
        return Counter(self.picks(route, count))

    # --- looking in ---

    def woken_attempt(self, ticket: Ticket) -> Attempt:
        decision = self.woken.pop(ticket.id)
        assert isinstance(decision, Send), decision
        return decision.attempt

    def woken_reason(self, ticket: Ticket) -> Reason:
        decision = self.woken.pop(ticket.id)
        assert isinstance(decision, Reject), decision
        return decision.reason

    def circuit(self, name: str) -> CircuitView:
        return next(view for view in self.core.circuits() if view.key.service_id == name)

    def states(self) -> dict[str, str]:
        return {view.key.service_id: view.state.value for view in self.core.circuits()}

    def trip(self, route: Route, name: str) -> None:
        """Fails requests on one instance until its circuit opens; the others answer well."""
        for _ in range(10_000):
            if self.circuit(name).state.value == "open":
                return
            attempt = self.send(route)
            if name_of(attempt) == name:
                self.fail(attempt)
            else:
                self.answer(attempt)
        raise AssertionError(f"the circuit of {name} did not open")

    def _take(self) -> None:
        for decision in self.core.take_woken():
            ticket = decision.attempt.ticket if isinstance(decision, Send) else decision.ticket
            assert ticket.id not in self.woken, "one ticket was woken twice"
            self.woken[ticket.id] = decision


def name_of(attempt: Attempt) -> str:
    return attempt.instance.key.service_id


def sick(healthy: Instance, health: Health = Health.CRITICAL) -> Instance:
    return replace(healthy, health=health)


def shell_with(
    *instances: Instance, prefer_node: str | None = None, draw: Callable[[], float] = no_jitter, now: float = 100.0
) -> Shell:
    shell = Shell(draw=draw, prefer_node=prefer_node, now=now)
    shell.view(*instances)
    return shell


def on(shell: Shell, name: str) -> Attempt:
    """An attempt on that instance; what goes elsewhere before is answered."""
    for _ in range(20):
        attempt = shell.send(route())
        if name_of(attempt) == name:
            return attempt
        shell.answer(attempt)
    raise AssertionError(f"{name} was not picked")
