"""What a backend's `instances` and `prefer` may ask about: the authenticated request, and one instance."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from gateway.core.model import Instance
from gateway.core.predicate import Environment, Memo, Predicate, Variable, bounds
from gateway.core.predicate.types import DYN, INT, STRING, Field, Record, Type, list_of, map_of
from gateway.core.require import IDENTITY, ROUTE, Authenticated, sender
from gateway.core.when import REQUEST

MAX_STEPS = 100_000
STEPS_OF_ONE = 100


def steps_for(instances: int) -> int:
    """What one predicate may take over all instances of a backend together: as much as any other predicate, and some
    more for each of them. It grows with their number, so that few instances cannot be made to cost as much as many."""
    return min(MAX_STEPS, bounds.MAX_STEPS + STEPS_OF_ONE * instances)


class Candidate:
    """An instance, and the request that is about to be judged for it."""

    __slots__ = ("asked", "asking", "instance", "known")

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.known: Memo = {}
        """Lasts as long as the instance stays as it is."""
        self.asking: Authenticated | None = None
        self.asked: Memo = {}
        """Lasts for one request."""


CompileInstances = Callable[[str], Predicate[Candidate]]


def _health(instance: object) -> object:
    assert isinstance(instance, Instance)
    return str(instance.health)


def _tags(instance: object) -> object:
    assert isinstance(instance, Instance)
    return sorted(instance.tags)


INSTANCE = Record(
    "instance",
    fields={
        "id": Field(STRING, attrgetter("key.service_id")),
        "service": Field(STRING, attrgetter("service")),
        "node": Field(STRING, attrgetter("key.node")),
        "datacenter": Field(STRING, attrgetter("key.datacenter")),
        "address": Field(STRING, attrgetter("address")),
        "port": Field(INT, attrgetter("port")),
        "health": Field(STRING, _health),
        "weight": Field(INT, attrgetter("weight")),
        "tags": Field(list_of(STRING), _tags),
        "meta": Field(map_of(STRING, STRING), attrgetter("meta")),
    },
)


def _of_request(kind: Type, read: Callable[[Authenticated], object]) -> Variable[Candidate]:
    def of_request(candidate: Candidate) -> object:
        assert candidate.asking is not None
        return read(candidate.asking)

    return Variable(kind, of_request, _asked)


_asked = attrgetter("asked")
INSTANCES: Environment[Candidate] = {
    "instance": Variable(INSTANCE, attrgetter("instance"), attrgetter("known")),
    "request": _of_request(REQUEST, attrgetter("facts")),
    "claims": _of_request(map_of(STRING, DYN), attrgetter("claims")),
    "identity": _of_request(IDENTITY, sender),
    "route": _of_request(ROUTE, attrgetter("route")),
}
