"""`specs/Admission.tla` in Python: its state, its actions with their guards, its properties, under their names.

An action takes a state to the next one and fails where its guard does not hold. What a real core decides is taken
through them one by one (`test_admission_machine`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from gateway.core.model import Route

LaneName = tuple[str, str]
"""A route and a backend."""


@dataclass(frozen=True, slots=True)
class World:
    """`members`: the instances that each backend selects; `service_of`: of which service they are."""

    members: Mapping[str, frozenset[str]]
    service_of: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Held:
    """A ticket that has not ended."""

    state: str
    route: Route
    backend: str
    tried: frozenset[str] = frozenset()
    attempts: int = 0
    instance: str | None = None

    @property
    def lane(self) -> LaneName:
        return self.route.name, self.backend

    @property
    def fresh(self) -> bool:
        return not self.tried


@dataclass(frozen=True, slots=True)
class State:
    world: World
    requests: Mapping[int, Held]
    queue: tuple[int, ...] = ()
    permitted: frozenset[str] = frozenset()
    limit: int = 0
    """In flight per instance."""
    awake: frozenset[LaneName] = frozenset()

    # --- what may be picked ---

    def permitted_of(self, backend: str) -> frozenset[str]:
        return self.permitted & self.world.members[backend]

    def blocked(self, backend: str) -> bool:
        return not self.permitted_of(backend)

    def candidates(self, ticket: int, backend: str, tried: Collection[str]) -> frozenset[str]:
        permitted = self.permitted_of(backend)
        eligible = {each for each in permitted if not self.limit or self._flying_but(ticket, each) < self.limit}
        untried = frozenset(eligible.difference(tried))
        return untried or (frozenset(eligible) if permitted.issubset(tried) else frozenset())

    def may_choose(self, route: Route, backend: str) -> bool:
        backends = backends_of(route, self.world)
        return backend in backends and (not self.blocked(backend) or all(map(self.blocked, backends)))

    def _flying_but(self, ticket: int, instance: str) -> int:
        return sum(held.instance == instance for other, held in self.requests.items() if other != ticket)

    # --- who may go, and who waits ---

    def route_full_but(self, ticket: int, route: Route) -> bool:
        others = (held for other, held in self.requests.items() if other != ticket)
        flying = sum(held.state == "attempting" and held.route.name == route.name for held in others)
        return 0 < route.limits.in_flight <= flying

    def has_room(self, route: Route) -> bool:
        return sum(held.route.name == route.name for held in self._queued()) < route.limits.queue

    def fresh_of(self, lane: LaneName) -> tuple[int, ...]:
        return tuple(each for each in self._lane(lane) if self.requests[each].fresh)

    def retries_of(self, lane: LaneName) -> tuple[int, ...]:
        return tuple(each for each in self._lane(lane) if not self.requests[each].fresh)

    def can_go(self, ticket: int) -> bool:
        held = self.requests[ticket]
        if held.fresh and self.fresh_of(held.lane)[0] != ticket:
            return False
        return not self.route_full_but(ticket, held.route) and bool(self.candidates(ticket, held.backend, held.tried))

    def going(self, lane: LaneName) -> tuple[int, ...]:
        return tuple(filter(self.can_go, self.retries_of(lane) + self.fresh_of(lane)))

    def head_of(self, lane: LaneName) -> int:
        return (self.retries_of(lane) + self.fresh_of(lane))[0]

    def rests(self, lane: LaneName) -> bool:
        return not self.blocked(lane[1]) and not self.going(lane)

    def lanes(self) -> frozenset[LaneName]:
        return frozenset(held.lane for held in self._queued())

    def _queued(self) -> Iterable[Held]:
        return (self.requests[ticket] for ticket in self.queue)

    def _lane(self, lane: LaneName) -> Iterable[int]:
        return (ticket for ticket in self.queue if self.requests[ticket].lane == lane)

    # --- steps that actions are made of ---

    def _with(self, ticket: int, held: Held | None) -> State:
        requests = {other: each for other, each in self.requests.items() if other != ticket}
        queue = tuple(each for each in self.queue if each != ticket)
        if held is not None:
            requests[ticket] = held
            if held.state == "queued":
                queue = (*queue, ticket)
        return replace(self, requests=requests, queue=queue)

    def _behind(self, service: str, route: str) -> State:
        woken = {lane for lane in self.lanes() if self.world.service_of[lane[1]] == service or lane[0] == route}
        return replace(self, awake=frozenset(woken))

    def _wake_services(self, services: Collection[str]) -> State:
        woken = {lane for lane in self.lanes() if self.world.service_of[lane[1]] in services}
        return replace(self, awake=frozenset(woken))

    def _still_awake(self) -> State:
        return replace(self, awake=self.awake & self.lanes())

    def _quiet(self) -> None:
        assert not self.awake, f"a call came while {sorted(self.awake)} had to be asked"

    # --- a ticket is opened ---

    def _goes_at_once(self, ticket: int, route: Route, backend: str) -> bool:
        held_back = self.fresh_of((route.name, backend))
        return not held_back and not self.route_full_but(ticket, route) and bool(self.candidates(ticket, backend, ()))

    def _opens(self, ticket: int, route: Route, backend: str) -> None:
        self._quiet()
        assert ticket not in self.requests, f"ticket {ticket} was opened again"
        assert self.may_choose(route, backend), f"{backend} was chosen, which has nothing to pick from"

    def route_request_send(self, ticket: int, route: Route, backend: str, instance: str) -> State:
        self._opens(ticket, route, backend)
        assert self._goes_at_once(ticket, route, backend), f"ticket {ticket} goes, but has to wait"
        assert instance in self.candidates(ticket, backend, ())
        return self._with(ticket, Held("attempting", route, backend, frozenset(), 1, instance))

    def route_request_wait(self, ticket: int, route: Route, backend: str) -> State:
        self._opens(ticket, route, backend)
        assert not self.blocked(backend)
        assert not self._goes_at_once(ticket, route, backend), f"ticket {ticket} waits, but could go"
        assert self.has_room(route)
        return self._with(ticket, Held("queued", route, backend))

    def route_request_reject(self, ticket: int, route: Route, backend: str) -> State:
        self._opens(ticket, route, backend)
        full = not self._goes_at_once(ticket, route, backend) and not self.has_room(route)
        assert self.blocked(backend) or full, f"ticket {ticket} is rejected without a reason"
        return self

    # --- an attempt fails and is tried again, or ends ---

    def retry_backends(self, ticket: int) -> frozenset[str]:
        """Where `MayRetryOn` lets it go."""
        held, backends = self.requests[ticket], backends_of(self.requests[ticket].route, self.world)
        tried = self._tried(ticket)

        def offers(backend: str) -> bool:
            return not self.permitted_of(backend) <= tried

        if held.attempts >= held.route.retry.attempts:
            return frozenset()
        if offers(held.backend):
            return frozenset({held.backend})
        others = frozenset(filter(offers, backends))
        if others:
            return others
        if not self.blocked(held.backend):
            return frozenset({held.backend})
        return frozenset(each for each in backends if not self.blocked(each))

    def _tried(self, ticket: int) -> frozenset[str]:
        held = self.requests[ticket]
        assert held.instance is not None
        return held.tried | {held.instance}

    def _retry_goes(self, ticket: int, backend: str) -> bool:
        there = self.candidates(ticket, backend, self._tried(ticket))
        return not self.route_full_but(ticket, self.requests[ticket].route) and bool(there)

    def _may_retry_on(self, ticket: int, backend: str) -> None:
        self._quiet()
        assert self.requests[ticket].state == "attempting"
        assert backend in self.retry_backends(ticket)

    def retry_send(self, ticket: int, backend: str, instance: str) -> State:
        self._may_retry_on(ticket, backend)
        held, tried = self.requests[ticket], self._tried(ticket)
        assert self._retry_goes(ticket, backend), f"ticket {ticket} is tried again, but has to wait"
        assert instance in self.candidates(ticket, backend, tried)
        again = Held("attempting", held.route, backend, tried, held.attempts + 1, instance)
        return self._with(ticket, again)._behind(self.world.service_of[held.backend], held.route.name)

    def retry_wait(self, ticket: int, backend: str) -> State:
        self._may_retry_on(ticket, backend)
        held, tried = self.requests[ticket], self._tried(ticket)
        assert not self._retry_goes(ticket, backend), f"ticket {ticket} waits, but could be tried again"
        assert self.has_room(held.route)
        again = Held("queued", held.route, backend, tried, held.attempts)
        return self._with(ticket, again)._behind(self.world.service_of[held.backend], held.route.name)

    def retry_denied(self, ticket: int) -> State:
        """`TimeOut` of an attempt that would have been tried again, had there been a backend and a place for it."""
        held = self.requests[ticket]
        had = any(self._retry_goes(ticket, backend) for backend in self.retry_backends(ticket))
        assert not had, f"ticket {ticket} was rejected, but could be tried again"
        assert not self.retry_backends(ticket) or not self.has_room(held.route)
        return self.time_out(ticket)

    def finish(self, ticket: int) -> State:
        return self._ends(ticket, "attempting")

    def time_out(self, ticket: int) -> State:
        return self._ends(ticket, "attempting")

    def abandon(self, ticket: int) -> State:
        return self._ends(ticket, self.requests[ticket].state)

    def reject_late(self, ticket: int) -> State:
        return self._ends(ticket, "queued")

    def _ends(self, ticket: int, state: str) -> State:
        self._quiet()
        held = self.requests[ticket]
        assert held.state == state
        return self._with(ticket, None)._behind(self.world.service_of[held.backend], held.route.name)

    # --- those who wait are woken ---

    def _asked(self, ticket: int, *, blocked: bool) -> Held:
        held = self.requests[ticket]
        assert held.state == "queued"
        assert held.lane in self.awake, f"{held.lane} was not to be asked"
        assert self.blocked(held.backend) is blocked
        return held

    def dequeue(self, ticket: int, instance: str) -> State:
        held = self._asked(ticket, blocked=False)
        first = self.going(held.lane)[:1]
        assert first == (ticket,), f"ticket {ticket} goes before {first}"
        return self._lets_go(ticket, held.backend, instance)

    def requeue_send(self, ticket: int, backend: str, instance: str) -> State:
        self._turned(ticket, backend)
        assert self._goes_elsewhere(ticket, backend), f"ticket {ticket} changes to {backend} and overtakes"
        return self._lets_go(ticket, backend, instance)

    def requeue_wait(self, ticket: int, backend: str) -> State:
        held = self._turned(ticket, backend)
        assert not self._goes_elsewhere(ticket, backend), f"ticket {ticket} waits for {backend}, but could go"
        return self._with(ticket, replace(held, backend=backend))._still_awake()

    def reject_blocked(self, ticket: int) -> State:
        held = self._asked(ticket, blocked=True)
        assert ticket == self.head_of(held.lane)
        assert all(map(self.blocked, backends_of(held.route, self.world)))
        return self._with(ticket, None)._still_awake()

    def rest(self, lane: LaneName) -> State:
        assert lane in self.awake
        assert self.rests(lane), f"{self.going(lane)} of {lane} may go, but nobody was let go"
        return replace(self, awake=self.awake - {lane})

    def _turned(self, ticket: int, backend: str) -> Held:
        held = self._asked(ticket, blocked=True)
        assert ticket == self.head_of(held.lane)
        assert not self.blocked(backend)
        assert self.may_choose(held.route, backend)
        return held

    def _goes_elsewhere(self, ticket: int, backend: str) -> bool:
        held = self.requests[ticket]
        held_back = held.fresh and self.fresh_of((held.route.name, backend))
        there = self.candidates(ticket, backend, held.tried)
        return not held_back and not self.route_full_but(ticket, held.route) and bool(there)

    def _lets_go(self, ticket: int, backend: str, instance: str) -> State:
        held = self.requests[ticket]
        assert instance in self.candidates(ticket, backend, held.tried)
        sent = Held("attempting", held.route, backend, held.tried, held.attempts + 1, instance)
        return self._with(ticket, sent)._still_awake()

    # --- the world changes ---

    def become_permitted(self, instance: str) -> State:
        assert instance not in self.permitted
        return self._permit(self.permitted | {instance}, instance)

    def become_forbidden(self, instance: str) -> State:
        assert instance in self.permitted
        return self._permit(self.permitted - {instance}, instance)

    def _permit(self, permitted: frozenset[str], instance: str) -> State:
        self._quiet()
        backends = (backend for backend, members in self.world.members.items() if instance in members)
        services = {self.world.service_of[backend] for backend in backends}
        return replace(self, permitted=permitted)._wake_services(services)

    def apply_policies(self, limit: int) -> State:
        self._quiet()
        return replace(self, limit=limit)._wake_services(frozenset(self.world.service_of.values()))


def backends_of(route: Route, world: World) -> frozenset[str]:
    """By their names in the module; a backend is told by its service and its tag."""
    return frozenset(
        name
        for name, service in world.service_of.items()
        if any(each.service == service and name in each.tags for each in route.backends)
    )


# --- properties, told again from the states and not by what the actions ask ---


def picks(before: State, after: State) -> Iterable[tuple[int, Held]]:
    for ticket, held in after.requests.items():
        earlier = before.requests.get(ticket)
        begins = earlier is None or earlier.state == "queued" or earlier.attempts < held.attempts
        if held.state == "attempting" and begins:
            yield ticket, held


def bounded_queue(before: State, after: State) -> None:
    for ticket in set(after.queue) - set(before.queue):
        route = after.requests[ticket].route
        waiting = [each for each in before.queue if before.requests[each].route.name == route.name]
        assert len(waiting) < route.limits.queue


def in_flight_bounded(before: State, after: State) -> None:
    for ticket, held in picks(before, after):
        route = held.route
        others = [
            other
            for other, each in after.requests.items()
            if other != ticket and each.instance is not None and each.route.name == route.name
        ]
        assert not route.limits.in_flight or len(others) < route.limits.in_flight


def at_most_one_per_instance(before: State, after: State) -> None:
    for ticket, held in picks(before, after):
        others = [other for other, each in after.requests.items() if other != ticket and each.instance == held.instance]
        assert not before.limit or len(others) < before.limit


def retry_elsewhere(before: State, after: State) -> None:
    for _, held in picks(before, after):
        allowed = before.permitted & before.world.members[held.backend]
        assert held.instance in allowed
        assert held.instance not in held.tried or allowed <= held.tried


def no_request_loss(before: State, after: State) -> None:
    queued = [ticket for ticket, held in after.requests.items() if held.state == "queued"]
    assert sorted(queued) == sorted(after.queue)
    assert all((held.state == "attempting") is (held.instance is not None) for held in after.requests.values())
    new = after.requests.keys() - before.requests.keys()
    assert not new or min(new) > max(before.requests, default=0)


def first_in_first_out(before: State, after: State) -> None:
    for ticket, held in picks(before, after):
        if not held.fresh:
            continue
        waiting = [each for each in before.queue if before.requests[each].fresh]
        lane = [each for each in waiting if before.requests[each].lane == held.lane]
        assert not lane or lane[0] == ticket


def _finds_room(state: State, held: Held) -> bool:
    flying = [each for each in state.requests.values() if each.state == "attempting"]
    route = held.route
    if route.limits.in_flight and sum(each.route.name == route.name for each in flying) >= route.limits.in_flight:
        return False
    members = state.permitted & state.world.members[held.backend]
    idle = {each for each in members if not state.limit or sum(one.instance == each for one in flying) < state.limit}
    return bool(idle - held.tried) or (bool(idle) and members <= held.tried)


def retries_first(before: State, after: State) -> None:
    for ticket, held in picks(before, after):
        was = before.requests.get(ticket)
        if was is None or was.state != "queued" or was.lane != held.lane:
            continue
        retries = [each for each in before.queue if not before.requests[each].fresh]
        if not held.fresh:
            retries = retries[: retries.index(ticket)]
        passed = [before.requests[each] for each in retries if before.requests[each].lane == held.lane]
        assert not any(_finds_room(before, each) for each in passed)


def no_needless_wait(_: State, after: State) -> None:
    if after.awake:
        return
    ahead: set[LaneName] = set()
    for ticket in after.queue:
        held = after.requests[ticket]
        assert after.permitted & after.world.members[held.backend], f"ticket {ticket} waits for an empty backend"
        if not held.fresh or held.lane not in ahead:
            assert not _finds_room(after, held), f"ticket {ticket} waits, but could go"
        if held.fresh:
            ahead.add(held.lane)
