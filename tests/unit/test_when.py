"""`when` on a route: what it sees of a request, where it stands among the rules, and what becomes of its failures."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.core.facts import RequestFacts
from gateway.core.gateway import Gateway
from gateway.core.model import Backend, Match, PathKind, PathMatch, Route, ValueKind, ValueMatch
from gateway.core.predicate import PredicateError
from gateway.core.routing import RoutingTable
from gateway.discovery.predicates import compile_when
from gateway.discovery.regex import compile_full_match

# 2026-11-25T14:03:02.5Z, a Wednesday
NOON = 1_795_615_382_500_000_000


def facts(
    path: str = "/",
    query: str = "",
    headers: Sequence[tuple[str, str]] = (),
    host: str | None = "example.com",
    time: int = NOON,
) -> RequestFacts:
    return RequestFacts("GET", host, path, query, CIMultiDict(headers), "192.0.2.1", "https", time)


def route(name: str, when: str | None = None, match: Match | None = None) -> Route:
    return Route(name, 1, (Backend("s"),), (match or Match(),), when=when)


def table(*routes: Route, failed: list[str] | None = None) -> RoutingTable:
    return RoutingTable(routes, compile_full_match, compile_when, None if failed is None else failed.append)


def winner(request: RequestFacts, *routes: Route) -> str | None:
    found = table(*routes).match(request)
    return None if found is None else found.name


REPEATED = (("X-Tier", "gold"), ("Accept", "a"), ("accept", "b"), ("Cookie", "s=1; t=2;; u"), ("COOKIE", "s=3"))


@pytest.mark.parametrize(
    "when",
    [
        "request.method == 'GET' && request.scheme == 'https' && request.client_ip == '192.0.2.1'",
        "request.host == 'example.com' && has(request.host)",
        "request.path == '/a/b%2F/' && request.segments == ['a', 'b%2F']",
        "request.headers['x-tier'] == 'gold' && has(request.headers.`x-tier`) && 'x-tier' in request.headers",
        "!has(request.headers.absent) && !('absent' in request.headers)",
        "request.headers.accept == ['a', 'b'] && request.headers.accept[1] == 'b'",
        "'a' in request.headers.accept",
        "request.headers.size() == 3 && request.headers.all(name, name in ['x-tier', 'accept', 'cookie'])",
        "request.headers.exists(name, name == 'x-tier' && request.headers[name] == 'gold')",
        "request.headers.filter(name, name.startsWith('x-')) == ['x-tier']",
        "request.query == {'a': ['1', '3'], 'b': 'é', 'c': ''}",
        "has(request.query.c) && request.query.c == '' && !has(request.query.d)",
        "request.cookies == {'s': '1', 't': '2', 'u': ''}",
        "request.time == timestamp('2026-11-25T14:03:02.5Z')",
        "request.time.getHours('Europe/Berlin') == 15 && request.time.getDayOfWeek() == 3",
    ],
)
def test_what_a_predicate_sees(when: str) -> None:
    request = facts("/a/b%2F/", "a=1&b=%C3%A9&a=3&c=", REPEATED)
    assert compile_when(when).holds(request) is True, when


@pytest.mark.parametrize(
    "when",
    [
        "request.headers.absent == 'a'",
        "request.headers.accept.startsWith('a')",
        "request.headers[request.headers['x-upper']] == 'gold'",
        "request.headers[1 == 1 ? dyn(1) : dyn('a')] == 'a'",
        "request.query.absent == ''",
        "request.cookies.absent == ''",
    ],
)
def test_what_is_absent_or_repeated_is_an_error_where_one_value_is_meant(when: str) -> None:
    request = facts(headers=(*REPEATED, ("x-upper", "X-Tier")))
    with pytest.raises(PredicateError):
        compile_when(when).holds(request)


def test_an_absent_host_is_empty_as_a_field_of_a_message() -> None:
    assert compile_when("!has(request.host) && request.host == ''").holds(facts(host=None))


def test_the_root_has_no_segments() -> None:
    assert compile_when("request.segments == [] && !has(request.segments)").holds(facts("/"))


@given(st.lists(st.tuples(st.sampled_from(["a", "A", "b-C", "d"]), st.sampled_from(["1", "2"])), max_size=5))
@settings(max_examples=100, deadline=None)
def test_looking_headers_up_agrees_with_going_through_them(headers: list[tuple[str, str]]) -> None:
    found = facts(headers=headers).header_map
    given_names = {name.lower() for name, _ in headers}
    assert set(found) == given_names
    assert len(found) == len(given_names)
    for name in given_names | {"absent"}:
        values = [value for other, value in headers if other.lower() == name]
        assert (name in found) is bool(values)
        assert found.get(name) == (None if not values else values[0] if len(values) == 1 else values)
    assert "A" not in found


def test_a_route_whose_predicate_is_false_or_fails_does_not_match() -> None:
    assert winner(facts(), route("a", "request.path == '/'")) == "a"
    assert winner(facts(), route("a", "request.path == '/x'")) is None
    assert winner(facts(), route("a", "request.headers.x == 'y'")) is None
    assert winner(facts(), route("a", "request.headers.x == 'y'"), route("b")) == "b"


def test_a_rule_with_a_predicate_goes_before_one_without_and_after_query_matches() -> None:
    parameter = Match(query=(ValueMatch("q", ValueKind.PRESENT),))
    header = Match(headers=(ValueMatch("h", ValueKind.PRESENT),))
    deep = Match(path=PathMatch(PathKind.PREFIX, "/a"))
    assert winner(facts(), route("a"), route("b", "true")) == "b"
    assert winner(facts(query="q=1"), route("a", "true"), route("b", match=parameter)) == "b"
    assert winner(facts(headers=[("h", "1")]), route("a", "true"), route("b", match=header)) == "b"
    assert winner(facts("/a"), route("a", "true"), route("b", match=deep)) == "b"
    assert winner(facts(), route("b", "true"), route("a", "true")) == "a", "ties by name"
    assert winner(facts(query="q=1"), route("a", match=parameter), route("b", "true", parameter)) == "b"


def test_every_alternative_of_a_route_needs_its_predicate() -> None:
    paths = tuple(Match(path=PathMatch(PathKind.EXACT, path)) for path in ("/a", "/b"))
    both = Route("r", 1, (Backend("s"),), paths, when="'x' in request.headers")
    assert [winner(facts(path), both) for path in ("/a", "/b")] == [None, None]
    assert [winner(facts(path, headers=[("x", "1")]), both) for path in ("/a", "/b", "/c")] == ["r", "r", None]


def test_each_failure_is_told_with_its_route() -> None:
    failed: list[str] = []
    routes = table(route("a", "request.headers.x == 'y'"), route("b", "false"), route("c"), failed=failed)
    for _ in range(2):
        routes.match(facts())
    assert failed == ["a", "a"]
    routes.match(facts(headers=[("x", "z")]))
    assert failed == ["a", "a"]


def test_the_gateway_hands_failures_on() -> None:
    failed: list[str] = []
    core = Gateway(compile_full_match, float, compile_when=compile_when, on_predicate_error=failed.append)
    core.apply_routes([route("a", "request.headers.x == 'y'")], 0.0)
    assert core.match(facts()) is None
    assert failed == ["a"]


def test_a_core_without_a_compiler_says_so() -> None:
    with pytest.raises(ValueError, match="this core was given no compiler for 'true'"):
        RoutingTable([route("a", "true")], compile_full_match)


def test_a_changed_predicate_is_another_route() -> None:
    assert route("a", "true") != route("a", "false")
