"""What a route's `when` may ask about: the request, before it is authenticated and before an instance is picked."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from gateway.core.facts import RequestFacts
from gateway.core.predicate import Environment, Predicate, Variable, itself
from gateway.core.predicate.types import DYN, STRING, TIMESTAMP, Elsewhere, Field, Record, list_of, map_of
from gateway.core.predicate.values import Timestamp

CompileWhen = Callable[[str], Predicate[RequestFacts]]


def no_when(source: str) -> Predicate[RequestFacts]:
    """For a core whose routes have no `when`, as those of a journal, which holds the results of matching."""
    raise ValueError(f"this core was given no compiler for {source!r}")


def _refuse_upper_case(name: str) -> str | None:
    lower = name.lower()
    return None if name == lower else f"the names of headers are in lower case here; write {lower}"


def _time(facts: object) -> object:
    assert isinstance(facts, RequestFacts)
    return Timestamp(facts.time)


def _host(facts: object) -> object:
    assert isinstance(facts, RequestFacts)
    return facts.host or ""


REQUEST = Record(
    "request",
    fields={
        "method": Field(STRING, attrgetter("method")),
        "scheme": Field(STRING, attrgetter("scheme")),
        "host": Field(STRING, _host),
        "path": Field(STRING, attrgetter("path")),
        "segments": Field(list_of(STRING), attrgetter("segments")),
        "headers": Field(map_of(STRING, DYN), attrgetter("header_map"), _refuse_upper_case),
        "query": Field(map_of(STRING, DYN), attrgetter("query_map")),
        "cookies": Field(map_of(STRING, STRING), attrgetter("cookie_map")),
        "client_ip": Field(STRING, attrgetter("client_ip")),
        "time": Field(TIMESTAMP, _time),
    },
)


def _not_yet(name: str) -> Variable[RequestFacts]:
    reason = f"{name} is known once a route was found: a request is authenticated by the route that it takes"
    return Variable(Elsewhere(name, reason=reason), itself)


NO_INSTANCE = Elsewhere("instance", reason="instance is known in a backend's instances and prefer alone")


WHEN: Environment[RequestFacts] = {
    "request": Variable(REQUEST, itself),
    "claims": _not_yet("claims"),
    "identity": _not_yet("identity"),
    "instance": Variable(NO_INSTANCE, itself),
}
