"""What a route's `require` may ask about: the request, whoever was proved to have sent it, and the route it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from gateway.core.facts import RequestFacts
from gateway.core.model import Route
from gateway.core.predicate import Environment, Predicate, Variable, itself
from gateway.core.predicate.types import DYN, STRING, Field, Record, map_of
from gateway.core.when import NO_INSTANCE, REQUEST


class Sender(Protocol):
    """As who a request was authenticated."""

    @property
    def kind(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def issuer(self) -> str: ...


class Authenticated(Protocol):
    """A request after authentication, whether or not its route asked for any: then it has no sender and no claims."""

    @property
    def facts(self) -> RequestFacts: ...
    @property
    def route(self) -> Route: ...
    @property
    def claims(self) -> Mapping[str, object]: ...
    @property
    def identity(self) -> Sender | None: ...


@dataclass(frozen=True, slots=True)
class _Nobody:
    kind: str = ""
    owner: str = ""
    issuer: str = ""


_NOBODY = _Nobody()


def sender(asking: Authenticated) -> Sender:
    """Who sent it, with empty fields where that is nobody known."""
    return asking.identity or _NOBODY


CompileRequire = Callable[[str], Predicate[Authenticated]]

IDENTITY = Record(
    "identity",
    fields={name: Field(STRING, attrgetter(name)) for name in ("kind", "owner", "issuer")},
)
ROUTE = Record("route", fields={"name": Field(STRING, attrgetter("name"))})
REQUIRE: Environment[Authenticated] = {
    "request": Variable(REQUEST, attrgetter("facts")),
    "claims": Variable(map_of(STRING, DYN), attrgetter("claims")),
    "identity": Variable(IDENTITY, sender),
    "route": Variable(ROUTE, attrgetter("route")),
    "instance": Variable(NO_INSTANCE, itself),
}
