"""An account of what is live in a core, kept of its events alone: the mirror, circuits, tickets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar, cast

from gateway.core.events import Values
from gateway.core.model import Health, Route, ServicePolicy

HEALTHS: Mapping[str, Health] = {str(health): health for health in Health}
FLYING = frozenset({"attempting", "retry_or_deliver", "retry_or_reject", "responding"})

Name = tuple[str, str]
"""Service and instance."""
Place = tuple[object, ...]
"""Tells apart what was registered under the same name at another address."""
K = TypeVar("K", bound=Hashable)

_DEFAULT_POLICY = ServicePolicy("")
_NOBODY: Mapping[str, Member] = {}


class Backend(NamedTuple):
    service: str
    tags: frozenset[str]
    meta: tuple[tuple[str, str], ...]
    panic: Health | None
    only: frozenset[str] | None
    """The instances that may serve the request, by what it says; None where it says nothing."""

    @classmethod
    def of(cls, decision: Values) -> Backend:
        told = cast(Values, decision["backend"])
        tags, meta, panic = cast(Sequence[str], told["tags"]), cast(Mapping[str, str], told["meta"]), told["panic"]
        health = None if panic is None else HEALTHS[str(panic)]
        only = cast(Sequence[str] | None, told.get("only"))
        return cls(
            str(told["service"]),
            frozenset(tags),
            tuple(sorted(meta.items())),
            health,
            None if only is None else frozenset(only),
        )

    def selects(self, member: Member) -> bool:
        return (
            self.tags <= member.tags
            and all(member.meta.get(name) == value for name, value in self.meta)
            and (self.only is None or member.name[1] in self.only)
        )


@dataclass(slots=True, eq=False)
class Circuit:
    """A circuit in one of its epochs: each transition makes another."""

    state: str = "closed"
    failures: int = 0
    passed: int = 0
    probes: set[int] = field(default_factory=set)
    """Tickets whose probes are out."""
    elsewhere: bool = False
    """Whether another worker has it."""


@dataclass(slots=True, eq=False)
class Member:
    """What the mirror holds of one instance, and its circuit."""

    name: Name
    place: Place
    health: Health
    weights: tuple[int, int]
    tags: frozenset[str]
    meta: Mapping[str, str]
    circuit: Circuit = field(default_factory=Circuit)

    @property
    def fit(self) -> bool:
        passing, warning = self.weights
        return (self.health is Health.PASSING and passing > 0) or (self.health is Health.WARNING and warning > 0)


@dataclass(slots=True, eq=False)
class Ticket:
    """`permit` is what its attempt carries from the circuit: ordinary, probe, or spent, once it was judged."""

    number: int
    route: Route | None
    backend: Backend
    state: str = "new"
    attempts: int = 0
    tried: set[str] = field(default_factory=set)
    member: Member | None = None
    circuit: Circuit | None = None
    """That of its attempt's epoch."""
    place: Place = ()
    permit: str = "spent"

    @property
    def speaks(self) -> bool:
        """Whether its attempt says anything yet: not judged, and of the present epoch."""
        return self.permit != "spent" and self.member is not None and self.circuit is self.member.circuit


class Account:
    """Holds what is live, and nothing else."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Member]] = {}
        self.policies: Mapping[str, ServicePolicy] = {}
        self.routes: Mapping[str, Route] = {}
        self.tickets: dict[int, Ticket] = {}
        self.flying: Counter[Place] = Counter()
        self.in_flight: Counter[str] = Counter()
        self.queued: Counter[str] = Counter()

    # --- the mirror ---

    def member(self, name: Name) -> Member | None:
        return self.members(name[0]).get(name[1])

    def members(self, service: str) -> Mapping[str, Member]:
        return self.services.get(service, _NOBODY)

    def pool(self, backend: Backend) -> Iterator[Member]:
        return (member for member in self.members(backend.service).values() if backend.selects(member))

    def policy(self, service: str) -> ServicePolicy:
        return self.policies.get(service, _DEFAULT_POLICY)

    def register(self, member: Member) -> None:
        service, name = member.name
        self.services.setdefault(service, {})[name] = member

    def deregister(self, name: Name) -> Member | None:
        members = self.services.get(name[0])
        gone = None if members is None else members.pop(name[1], None)
        if not members:
            self.services.pop(name[0], None)
        if gone is not None:
            turn(gone, "closed")
        return gone

    # --- tickets ---

    def sends(self, ticket: Ticket, member: Member | None, name: Name, probe: bool) -> None:
        if ticket.state == "queued":
            self._leave_queue(ticket)
        ticket.state, ticket.attempts = "attempting", ticket.attempts + 1
        ticket.permit = "probe" if probe else "ordinary"
        ticket.member, ticket.circuit = member, None if member is None else member.circuit
        ticket.place = name if member is None else member.place
        self.flying[ticket.place] += 1
        if ticket.route is not None:
            self.in_flight[ticket.route.name] += 1
        if probe and ticket.circuit is not None:
            ticket.circuit.probes.add(ticket.number)

    def queues(self, ticket: Ticket) -> None:
        ticket.state = "queued"
        if ticket.route is not None:
            self.queued[ticket.route.name] += 1

    def releases(self, ticket: Ticket) -> None:
        """Takes back what its attempt holds."""
        if ticket.state not in FLYING:
            return
        _less(self.flying, ticket.place)
        if ticket.route is not None:
            _less(self.in_flight, ticket.route.name)
        if ticket.circuit is not None:
            ticket.circuit.probes.discard(ticket.number)
        ticket.permit = "spent"

    def ends(self, ticket: Ticket) -> None:
        if ticket.state == "queued":
            self._leave_queue(ticket)
        self.releases(ticket)
        ticket.state = "ended"
        del self.tickets[ticket.number]

    def _leave_queue(self, ticket: Ticket) -> None:
        if ticket.route is not None:
            _less(self.queued, ticket.route.name)


def turn(member: Member, state: str) -> None:
    """Another epoch begins: what is in flight there says nothing any more."""
    member.circuit = Circuit(state)


def name_of(decision: Values) -> Name:
    return str(decision["service"]), str(decision["instance"])


def shown(name: Name) -> str:
    return f"{name[0]} {name[1]}"


def _less(counts: Counter[K], key: K) -> None:
    """One less; what is at nothing is forgotten, so that the account does not grow."""
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
