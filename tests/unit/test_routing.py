"""Precedence among routes, told case by case, and compared with a sort of all rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.core.facts import RequestFacts
from gateway.core.model import Backend, Match, PathKind, PathMatch, Route, ValueKind, ValueMatch
from gateway.core.routing import RoutingTable


def compile_regex(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def route(name: str, *matches: Match, hostnames: Sequence[str] = ()) -> Route:
    return Route(
        name=name,
        version=1,
        backends=(Backend(service=name),),
        matches=matches or (Match(),),
        hostnames=tuple(hostnames),
    )


def prefix(value: str) -> Match:
    return Match(path=PathMatch(PathKind.PREFIX, value))


def exact(value: str) -> Match:
    return Match(path=PathMatch(PathKind.EXACT, value))


def regex(value: str) -> Match:
    return Match(path=PathMatch(PathKind.REGEX, value))


def facts(
    path: str = "/",
    host: str | None = "example.com",
    method: str = "GET",
    query: str = "",
    headers: Sequence[tuple[str, str]] = (),
) -> RequestFacts:
    return RequestFacts(method, host, path, query, CIMultiDict(headers), "192.0.2.1")


def winner(routes: Sequence[Route], request: RequestFacts) -> str | None:
    found = RoutingTable(routes, compile_regex).match(request)
    return found.name if found else None


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("/orders", True),
        ("/orders/", True),
        ("/orders/1", True),
        ("/orders/1/items/2", True),
        ("/ordersx", False),
        ("/", False),
        ("/orders%2F1", False),
    ],
)
def test_a_prefix_matches_whole_elements(path: str, taken: bool) -> None:
    assert winner([route("r", prefix("/orders"))], facts(path)) == ("r" if taken else None)
    assert winner([route("r", prefix("/orders/"))], facts(path)) == ("r" if taken else None)


def test_a_prefix_is_taken_by_its_letters_whatever_they_are() -> None:
    routes = [route("x", prefix("/X/")), route("root", prefix("/"))]
    assert [winner(routes, facts(path)) for path in ("/X", "/X/1", "/x", "/")] == ["x", "x", "root", "root"]


def test_paths_go_exact_then_regex_then_longest_prefix() -> None:
    routes = [
        route("root", prefix("/")),
        route("short", prefix("/a")),
        route("long", prefix("/a/b")),
        route("regex", regex("/a/b/[0-9]+")),
        route("exact", exact("/a/b/7")),
    ]
    assert [winner(routes, facts(path)) for path in ("/a/b/7", "/a/b/8", "/a/b/x", "/a/c", "/c")] == [
        "exact",
        "regex",
        "long",
        "short",
        "root",
    ]


@pytest.mark.parametrize("other", [exact("/a"), regex("/a"), prefix("/a")])
def test_one_other_path_beside_a_route_for_all(other: Match) -> None:
    routes = [route("all"), route("other", other)]
    assert [winner(routes, facts(path)) for path in ("/a", "/b")] == ["other", "all"]


def test_a_regular_expression_has_to_match_the_whole_path() -> None:
    assert winner([route("r", regex("/a"))], facts("/a/b")) is None


def test_hosts_go_exact_then_longest_wildcard_then_none() -> None:
    routes = [
        route("exact", hostnames=["a.shop.example.com"]),
        route("long", hostnames=["*.shop.example.com"]),
        route("short", hostnames=["*.example.com"]),
        route("any"),
    ]
    hosts = [
        "a.shop.example.com",
        "b.shop.example.com",
        "c.b.shop.example.com",
        "shop.example.com",
        "example.com",
        None,
    ]
    assert [winner(routes, facts(host=host)) for host in hosts] == [
        "exact",
        "long",
        "long",
        "short",
        "any",
        "any",
    ]


@pytest.mark.parametrize("host", ["example.com", "xexample.com", ".example.com", "com", "", None])
def test_a_wildcard_needs_a_label_in_front(host: str | None) -> None:
    assert winner([route("r", hostnames=["*.example.com"])], facts(host=host)) is None


@pytest.mark.parametrize("host", ["a.example.com", "b.a.example.com", "c.b.a.example.com"])
def test_a_wildcard_stands_for_any_number_of_labels(host: str) -> None:
    assert winner([route("r", hostnames=["*.example.com"])], facts(host=host)) == "r"


def test_a_host_outranks_any_path() -> None:
    routes = [route("host", prefix("/"), hostnames=["example.com"]), route("path", exact("/orders"))]
    assert winner(routes, facts("/orders")) == "host"


def test_what_no_rule_of_the_host_takes_falls_to_less_specific_hosts() -> None:
    routes = [
        route("exact", prefix("/orders"), hostnames=["a.example.com"]),
        route("wildcard", prefix("/users"), hostnames=["*.example.com"]),
        route("any", prefix("/")),
    ]
    assert [winner(routes, facts(path, "a.example.com")) for path in ("/orders", "/users", "/x")] == [
        "exact",
        "wildcard",
        "any",
    ]


def test_a_request_without_host_matches_only_routes_without_hostnames() -> None:
    assert winner([route("host", hostnames=["example.com"]), route("any")], facts(host=None)) == "any"


def test_method_then_headers_then_query_then_name() -> None:
    tenant = ValueMatch("x-tenant", ValueKind.EXACT, "acme")
    page = ValueMatch("page", ValueKind.PRESENT)
    routes = [
        route("b-plain"),
        route("a-plain"),
        route("query", Match(query=(page,))),
        route("header", Match(headers=(tenant,))),
        route("method", Match(methods=frozenset({"GET"}))),
    ]
    request = facts(query="page=1", headers=[("X-Tenant", "acme")])
    order = []
    while routes:
        name = winner(routes, request)
        order.append(name)
        routes = [other for other in routes if other.name != name]
    assert order == ["method", "header", "query", "a-plain", "b-plain"]


def test_a_longer_prefix_whose_conditions_fail_leaves_the_request_to_the_shorter() -> None:
    routes = [
        route("post", Match(path=PathMatch(PathKind.PREFIX, "/a/b/c"), methods=frozenset({"POST"}))),
        route("short", prefix("/a")),
    ]
    assert winner(routes, facts("/a/b/c/d", method="GET")) == "short"
    assert winner(routes, facts("/a/b/c/d", method="POST")) == "post"


def test_any_alternative_of_a_match_is_enough() -> None:
    routes = [route("r", exact("/a"), Match(path=PathMatch(PathKind.PREFIX, "/b"), methods=frozenset({"PUT"})))]
    assert winner(routes, facts("/a")) == "r"
    assert winner(routes, facts("/b/c", method="PUT")) == "r"
    assert winner(routes, facts("/b/c")) is None


@pytest.mark.parametrize(
    ("match", "headers", "taken"),
    [
        (ValueMatch("x-a", ValueKind.EXACT, "1"), [("X-A", "1")], True),
        (ValueMatch("x-a", ValueKind.EXACT, "1"), [("X-A", "2"), ("x-a", "1")], True),
        (ValueMatch("x-a", ValueKind.EXACT, "1"), [("X-A", "1, 2")], False),
        (ValueMatch("x-a", ValueKind.EXACT, "1"), [], False),
        (ValueMatch("x-a", ValueKind.PRESENT), [("X-A", "")], True),
        (ValueMatch("x-a", ValueKind.PRESENT), [], False),
        (ValueMatch("x-a", ValueKind.REGEX, "[0-9]+"), [("X-A", "12")], True),
        (ValueMatch("x-a", ValueKind.REGEX, "[0-9]+"), [("X-A", "12x")], False),
        (ValueMatch("x-a", ValueKind.REGEX, ".*"), [], False),
    ],
)
def test_header_matches(match: ValueMatch, headers: list[tuple[str, str]], taken: bool) -> None:
    assert (winner([route("r", Match(headers=(match,)))], facts(headers=headers)) == "r") is taken


def test_all_header_and_query_matches_have_to_hold() -> None:
    both = Match(
        headers=(ValueMatch("a", ValueKind.PRESENT), ValueMatch("b", ValueKind.PRESENT)),
        query=(ValueMatch("q", ValueKind.EXACT, "a b"), ValueMatch("r", ValueKind.PRESENT)),
    )
    routes = [route("r", both)]
    assert winner(routes, facts(headers=[("a", ""), ("b", "")], query="q=a%20b&r=")) == "r"
    assert winner(routes, facts(headers=[("a", "")], query="q=a%20b&r=")) is None
    assert winner(routes, facts(headers=[("a", ""), ("b", "")], query="q=a%20b")) is None


def test_two_routes_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="named 'r'"):
        RoutingTable([route("r"), route("r")], compile_regex)


def test_the_table_names_its_routes_and_services() -> None:
    table = RoutingTable([route("a"), route("b")], compile_regex)
    assert set(table.routes) == {"a", "b"}
    assert table.services() == {"a", "b"}


def test_an_empty_table_takes_nothing() -> None:
    assert winner([], facts()) is None


# --- the reference: sort all rules by what the design says, take the first that matches ---------------------------

ELEMENTS = st.sampled_from(["a", "b", "%2F"])
PATH = st.lists(ELEMENTS, max_size=4).map(lambda elements: "/" + "/".join(elements))
HOST = st.lists(st.sampled_from(["a", "b", "com"]), min_size=1, max_size=4).map(".".join)
VALUE_MATCH = st.one_of(
    st.builds(ValueMatch, st.sampled_from("xy"), st.just(ValueKind.EXACT), st.sampled_from("12")),
    st.builds(ValueMatch, st.sampled_from("xy"), st.just(ValueKind.PRESENT)),
    st.builds(ValueMatch, st.sampled_from("xy"), st.just(ValueKind.REGEX), st.sampled_from(["1", "1+", "[12]"])),
)
PATH_MATCH = st.one_of(
    st.builds(PathMatch, st.just(PathKind.PREFIX), PATH),
    st.builds(PathMatch, st.just(PathKind.EXACT), PATH),
    st.builds(PathMatch, st.just(PathKind.REGEX), st.sampled_from(["/a.*", "/[ab]", "/.*"])),
)
MATCH = st.builds(
    Match,
    path=PATH_MATCH,
    methods=st.frozensets(st.sampled_from(["GET", "PUT"]), max_size=2),
    headers=st.lists(VALUE_MATCH, max_size=2).map(tuple),
    query=st.lists(VALUE_MATCH, max_size=2).map(tuple),
)
HOSTNAME = st.one_of(HOST, HOST.map(lambda host: "*." + host))
ROUTES = st.lists(
    st.tuples(st.lists(MATCH, min_size=1, max_size=3), st.lists(HOSTNAME, max_size=3)), min_size=1, max_size=12
).map(lambda specs: [route(f"r{index}", *matches, hostnames=hosts) for index, (matches, hosts) in enumerate(specs)])
PAIRS = st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from(["1", "2", "11", ""])), max_size=3)
FACTS = st.builds(
    lambda path, slash, host, method, query, headers: facts(
        path + slash, host, method, "&".join("=".join(pair) for pair in query), headers
    ),
    PATH,
    st.sampled_from(["", "/"]),
    st.one_of(st.none(), HOST),
    st.sampled_from(["GET", "PUT"]),
    PAIRS,
    PAIRS,
)


def _host_rank(hostname: str, host: str | None) -> tuple[int, int] | None:
    if not hostname:
        return (2, 0)
    if host is None:
        return None
    if hostname.startswith("*."):
        suffix = hostname[1:]
        return (1, -suffix.count(".")) if host.endswith(suffix) and len(host) > len(suffix) else None
    return (0, 0) if host == hostname else None


def _path_rank(match: PathMatch, path: str) -> tuple[int, int] | None:
    if match.kind is PathKind.EXACT:
        return (0, 0) if path == match.value else None
    if match.kind is PathKind.REGEX:
        return (1, 0) if re.fullmatch(match.value, path) else None
    wanted = [element for element in match.value.split("/") if element]
    given_elements = path.split("/")[1:]
    return (2, -len(wanted)) if given_elements[: len(wanted)] == wanted else None


def _holds(match: ValueMatch, values: Sequence[str]) -> bool:
    if match.kind is ValueKind.PRESENT:
        return len(values) > 0
    if match.kind is ValueKind.EXACT:
        return match.value in values
    return any(re.fullmatch(match.value, value) for value in values)


def reference(routes: Sequence[Route], request: RequestFacts) -> str | None:
    ranked = []
    for candidate in routes:
        for match in candidate.matches:
            for hostname in candidate.hostnames or ("",):
                host_rank = _host_rank(hostname, request.host)
                path_rank = _path_rank(match.path, request.path)
                if (
                    host_rank is not None
                    and path_rank is not None
                    and (not match.methods or request.method in match.methods)
                    and all(_holds(header, request.header_values(header.name)) for header in match.headers)
                    and all(_holds(parameter, request.query_values(parameter.name)) for parameter in match.query)
                ):
                    conditions = (not match.methods, -len(match.headers), -len(match.query), candidate.name)
                    ranked.append((host_rank, path_rank, conditions))
    return min(ranked)[2][3] if ranked else None


@given(ROUTES, FACTS)
@settings(max_examples=400, deadline=None)
def test_the_table_agrees_with_the_reference(routes: list[Route], request: RequestFacts) -> None:
    assert winner(routes, request) == reference(routes, request)


@given(ROUTES, FACTS)
@settings(deadline=None)
def test_the_order_in_which_routes_arrive_does_not_matter(routes: list[Route], request: RequestFacts) -> None:
    assert winner(routes, request) == winner(routes[::-1], request)
