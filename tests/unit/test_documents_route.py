"""Route documents: what they say, what they default to, what is refused and in which words."""

from __future__ import annotations

import json

import pytest
from pydantic import JsonValue

from gateway.core.filters import Edit, EditRequestHeaders, EditResponseHeaders, StripPrefix
from gateway.core.model import (
    Backend,
    FailureKind,
    Health,
    Limits,
    Match,
    PathKind,
    PathMatch,
    RetryPolicy,
    Route,
    Shadow,
    Sticky,
    StickyOn,
    Timeouts,
    ValueKind,
    ValueMatch,
    WhenEmpty,
)
from gateway.discovery.documents import Defaults, Rejection, check_route, parse_defaults, parse_route
from gateway.discovery.documents.rejection import shown

FULL = b"""\
hostnames: [API.example.com, "*.shop.example.com", api.example.com]
match:
  - path_prefix: /orders/
    methods: [GET, POST]
    headers: {X-Tenant: acme, x-id: {regex: "[0-9]+"}, x-any: {present: true}}
    query: {on: no}
  - {path_exact: /o}
  - {path_regex: /p+}
backends:
  - {service: orders, weight: 9, tags: [stable]}
  - {service: orders, weight: 1, tags: [canary], meta: {region: eu}}
filters:
  - {strip_prefix: /orders}
  - request_headers: {set: {X-Gateway: edge}, add: {x-a: ["1", "2"], x-b: "3"}, remove: [cookie]}
  - {response_headers: {remove: [server]}}
timeouts: {request: 10s, attempt: 1m30s, idle: 250ms}
retry: {attempts: 4, retry_on: [connect_failure, "502", 503], methods: [GET], buffer: 1MiB}
limits: {in_flight: 200, queue: 10, queue_timeout: 1.5s, body: 1000}
when_empty: {status: 500, retry_after: 2s, panic: critical}
escaped_slashes: pass
websocket: false
"""
SMALLEST: dict[str, JsonValue] = {"backends": [{"service": "orders"}]}


def accepted(raw: bytes, defaults: Defaults | None = None) -> Route:
    route = parse_route("r", raw, 7, defaults) if defaults else parse_route("r", raw, 7)
    assert isinstance(route, Route), str(route)
    return route


def problems(document: JsonValue | str) -> list[tuple[str, str]]:
    text = document if isinstance(document, str) else json.dumps(document)
    return [(found.field, found.reason) for found in check_route("r", text.encode(), own_service="gateway")]


def one_problem(field: str, value: JsonValue) -> tuple[str, str]:
    found = problems(SMALLEST | {field: value})
    assert len(found) == 1, found
    return found[0]


def test_the_smallest_route_has_all_the_defaults() -> None:
    assert accepted(b'{"match": {"path_prefix": "/orders"}, "backends": [{"service": "orders"}]}') == Route(
        name="r",
        version=7,
        backends=(Backend("orders"),),
        matches=(Match(PathMatch(PathKind.PREFIX, "/orders")),),
    )


def test_a_route_without_match_takes_everything() -> None:
    assert accepted(json.dumps(SMALLEST).encode()).matches == (Match(),)


def test_the_fullest_route() -> None:
    assert accepted(FULL) == Route(
        name="r",
        version=7,
        backends=(
            Backend("orders", 9, frozenset({"stable"})),
            Backend("orders", 1, frozenset({"canary"}), (("region", "eu"),)),
        ),
        matches=(
            Match(
                PathMatch(PathKind.PREFIX, "/orders"),
                frozenset({"GET", "POST"}),
                (
                    ValueMatch("x-tenant", ValueKind.EXACT, "acme"),
                    ValueMatch("x-id", ValueKind.REGEX, "[0-9]+"),
                    ValueMatch("x-any", ValueKind.PRESENT),
                ),
                (ValueMatch("on", ValueKind.EXACT, "no"),),
            ),
            Match(PathMatch(PathKind.EXACT, "/o")),
            Match(PathMatch(PathKind.REGEX, "/p+")),
        ),
        hostnames=("api.example.com", "*.shop.example.com"),
        filters=(
            StripPrefix("/orders"),
            EditRequestHeaders(Edit((("X-Gateway", "edge"),), (("x-a", "1"), ("x-a", "2"), ("x-b", "3")), ("cookie",))),
            EditResponseHeaders(Edit(remove=("server",))),
        ),
        timeouts=Timeouts(10, 90, 0.25),
        retry=RetryPolicy(
            4, frozenset({FailureKind.CONNECT_FAILURE}), frozenset({502, 503}), frozenset({"GET"}), 1 << 20
        ),
        limits=Limits(200, 10, 1.5, 1000),
        when_empty=WhenEmpty(500, 2, Health.CRITICAL),
        pass_escaped_slashes=True,
        websocket=False,
    )


def test_a_rejection_names_key_place_field_reason_and_version() -> None:
    raw = b"backends:\n  - service: orders\n    weight: -1\n"
    rejection = parse_route("r", raw, 42, key="gateway/routes/r")
    assert rejection == Rejection("gateway/routes/r", 3, 5, "backends[0].weight", "has to be at least 0", 42)
    assert str(rejection) == "gateway/routes/r:3:5: backends[0].weight: has to be at least 0"


def test_the_first_problem_by_position_is_the_answer_and_all_are_found() -> None:
    raw = (
        b'{"websocket": 1,\n "backends": [{"service": "a b"}, {}],\n'
        b' "match": {"path_prefx": "/"}, "limits": {"queue": -1}}'
    )
    found = check_route("r", raw)
    assert [(each.line, each.column, each.field) for each in found] == [
        (1, 2, "websocket"),
        (2, 16, "backends[0].service"),
        (2, 35, "backends[1].service"),
        (3, 12, "match.path_prefx"),
        (3, 43, "limits.queue"),
    ]
    assert parse_route("r", raw, 0) == found[0]


def test_a_good_document_has_no_problems() -> None:
    assert check_route("r", FULL) == []


@pytest.mark.parametrize(
    ("document", "field", "reason"),
    [
        ({"macth": {}}, "macth", "unknown field; did you mean match?"),
        ({"limits": {"queue_timout": "1s"}}, "limits.queue_timout", "unknown field; did you mean queue_timeout?"),
        (
            {"match": {"headers": {"x": {"regexp": "a"}}}},
            "match.headers.x.regexp",
            "unknown field; did you mean regex?",
        ),
        (
            {"timeouts": {"zzz": 1}},
            "timeouts.zzz",
            "unknown field; known are attempt, idle, request",
        ),
        (
            {"when": "reqest.path == '/'"},
            "when",
            "unknown name reqest; did you mean request?",
        ),
        ({"when": "true &&\n1"}, "when", "line 2, column 1 of the predicate: && takes bool, not int"),
        ({"when": "a" * 4097}, "when", "takes at most 4096 characters"),
        ({"when": ""}, "when", "must not be empty"),
        ({"when": True}, "when", "has to be text (in quotes)"),
        (
            {"when": "'admin' in claims.roles"},
            "when",
            "claims is known once a route was found: a request is authenticated by the route that it takes",
        ),
        (
            {"when": "identity.kind == 'jwt'"},
            "when",
            "identity is known once a route was found: a request is authenticated by the route that it takes",
        ),
        ({"when": "claim.sub == 'a'"}, "when", "unknown name claim; known are request"),
        ({"require": "'admin' in clams.roles"}, "require", "unknown name clams; did you mean claims?"),
        ({"require": "identity.ower == ''"}, "require", "identity has no field ower; did you mean owner?"),
        (
            {"require": "route.name"},
            "require",
            "a predicate is a bool, and this is a string",
        ),
        ({"require": "true &&\n1"}, "require", "line 2, column 1 of the predicate: && takes bool, not int"),
        ({"require": "a" * 4097}, "require", "takes at most 4096 characters"),
        ({"require": True}, "require", "has to be text (in quotes)"),
    ],
)
def test_unknown_fields(document: dict[str, JsonValue], field: str, reason: str) -> None:
    assert problems(SMALLEST | document) == [(field, reason)]


@pytest.mark.parametrize("document", ["[]", "text", "1", "[{}]"])
def test_a_document_is_a_mapping(document: str) -> None:
    assert problems(document) == [("", "has to be a mapping")]


def test_backends_are_required() -> None:
    assert problems({}) == [("backends", "is required, unless there is a redirect or respond")]
    assert one_problem("backends", []) == ("backends", "needs at least one entry")
    assert one_problem("backends", [{}]) == ("backends[0].service", "is required")


@pytest.mark.parametrize("field", ["match", "backends", "timeouts", "when_empty", "websocket"])
def test_a_field_without_a_value_is_refused(field: str) -> None:
    assert one_problem(field, None) == (field, "has no value: give one, or leave the field out")
    assert problems("backends: [{service: a}]\nlimits:\n  body:\n")[0][0] == "limits.body"


@pytest.mark.parametrize(
    ("backend", "problem"),
    [
        (
            {"service": "gateway"},
            ("backends[0].service", "is the gateway's own service: its requests would go in a circle"),
        ),
        ({"service": "a", "weight": 65536}, ("backends[0].weight", "has to be at most 65535")),
        ({"service": "a", "weight": "1"}, ("backends[0].weight", "has to be a whole number")),
        ({"service": "a", "weight": 1.5}, ("backends[0].weight", "has to be a whole number")),
        ({"service": "a", "weight": True}, ("backends[0].weight", "has to be a whole number")),
        ({"service": "a", "weight": 0}, ("backends", "at least one backend needs a weight above 0")),
        ({"service": "a", "tags": "x"}, ("backends[0].tags", "has to be a list")),
        ({"service": "a", "meta": {"x": 1}}, ("backends[0].meta.x", "has to be text (in quotes)")),
        ({"service": 1}, ("backends[0].service", "has to be text (in quotes)")),
        (
            {"service": "a", "instances": "instance.meta.region == request.header['x']"},
            ("backends[0].instances", "request has no field header; did you mean headers?"),
        ),
        (
            {"service": "a", "prefer": "instance.port"},
            ("backends[0].prefer", "a predicate is a bool, and this is a int"),
        ),
        ({"service": "a", "otherwise": "any"}, ("backends[0]", "otherwise goes with instances")),
        (
            {"service": "a", "instances": "true", "otherwise": "all"},
            ("backends[0].otherwise", "has to be one of refuse or any"),
        ),
        (
            {"service": "a", "fallback": True},
            ("backends", "a fallback needs a backend with a weight above 0 that it is for"),
        ),
    ],
)
def test_backends(backend: JsonValue, problem: tuple[str, str]) -> None:
    assert one_problem("backends", [backend]) == problem


def test_what_a_backend_says_of_its_instances() -> None:
    route = accepted(
        b"""\
backends:
  - service: orders
    instances: instance.meta.region == request.headers["x-region"]
    otherwise: any
    prefer: instance.meta.role == "replica"
  - {service: spare, fallback: true}
"""
    )
    assert route.backends == (
        Backend(
            "orders",
            instances='instance.meta.region == request.headers["x-region"]',
            any_otherwise=True,
            prefer='instance.meta.role == "replica"',
        ),
        Backend("spare", fallback=True),
    )
    assert route.steers


@pytest.mark.parametrize(
    ("sticky", "problem"),
    [
        ({}, ("sticky", "takes exactly one of cookie, header and none")),
        ({"cookie": "a", "header": "b"}, ("sticky", "takes exactly one of cookie, header and none")),
        ({"header": "x-a", "max_age": "1h"}, ("sticky", "max_age is for a cookie")),
        ({"cookie": "a b"}, ("sticky.cookie", "is not the name of a cookie")),
        ({"cookie": "a", "max_age": "10ms"}, ("sticky.max_age", "has to be")),
    ],
)
def test_bad_sticky(sticky: JsonValue, problem: tuple[str, str]) -> None:
    field, reason = one_problem("sticky", sticky)
    assert field == problem[0]
    assert reason.startswith(problem[1])


@pytest.mark.parametrize(
    ("shadow", "reason"),
    [
        ({}, "needs a service, or none alone"),
        ({"percent": "10%"}, "needs a service, or none alone"),
        ({"none": True, "percent": "10%"}, "needs a service, or none alone"),
        ({"none": True, "service": "b"}, "takes a service or none, not both"),
    ],
)
def test_bad_shadows(shadow: JsonValue, reason: str) -> None:
    assert one_problem("shadow", shadow) == ("shadow", reason)


def test_sticky_and_shadow_of_the_defaults() -> None:
    raw = b"{route: {sticky: {cookie: at}, shadow: {service: next}}}"
    defaults = parse_defaults(raw, 1, own_service="gateway")
    assert isinstance(defaults, Defaults), str(defaults)

    def of(text: bytes) -> tuple[Sticky | None, Shadow | None]:
        found = parse_route("r", text, 1, defaults)
        assert isinstance(found, Route), str(found)
        return found.sticky, found.shadow

    assert of(b"backends: [{service: a}]") == (Sticky(StickyOn.COOKIE, "at"), Shadow("next"))
    assert of(b"{backends: [{service: a}], sticky: {none: true}, shadow: {none: true}}") == (None, None)
    assert of(b"{backends: [{service: a}], sticky: {header: x}, shadow: {service: b}}") == (
        Sticky(StickyOn.HEADER, "x"),
        Shadow("b"),
    )
    assert of(b"respond: {}") == (None, None), "no instance takes part"
    circle = parse_defaults(raw, 1, own_service="next")
    assert isinstance(circle, Rejection)
    assert circle.field == "route.shadow.service"


def test_sticky() -> None:
    assert accepted(b"{sticky: {cookie: at, max_age: 1h}, backends: [{service: a}]}").sticky == Sticky(
        StickyOn.COOKIE, "at", 3600.0
    )
    header = accepted(b"{sticky: {header: X-Session}, backends: [{service: a}]}")
    assert header.sticky == Sticky(StickyOn.HEADER, "x-session")
    assert header.steers
    assert problems("{sticky: {cookie: at}, respond: {status: 200}}") == [
        ("sticky", "no instance takes part in what a route answers itself")
    ]


@pytest.mark.parametrize("name", ["", "a/b", "../v1/kv", "a?b", "a b", "a\n", ".a", "é", "a" * 129])
def test_names_of_services_cannot_leave_their_place_in_a_path(name: str) -> None:
    assert one_problem("backends", [{"service": name}])[0] == "backends[0].service"


@pytest.mark.parametrize("name", ["orders", "orders-v2", "a.b_c", "_a", "0"])
def test_names_of_services(name: str) -> None:
    assert problems({"backends": [{"service": name}]}) == []


@pytest.mark.parametrize(
    ("match", "problem"),
    [
        ({"path_prefix": "orders"}, ("match.path_prefix", "a path has to start with a slash")),
        ({"path_prefix": "/a/../b"}, ("match.path_prefix", "is not in normal form; write /b")),
        ({"path_prefix": "//a"}, ("match.path_prefix", "is not in normal form; write /a")),
        ({"path_exact": "/%61"}, ("match.path_exact", "is not in normal form; write /a")),
        ({"path_exact": "/a?b"}, ("match.path_exact", "a path ends before the question mark")),
        ({"path_exact": ""}, ("match.path_exact", "must not be empty")),
        ({"path_exact": "/a", "path_regex": "/a"}, ("match", "takes only one of path_exact, path_prefix, path_regex")),
        (
            {"path_regex": "("},
            ("match.path_regex", "is not a regular expression that RE2 takes: missing ): ("),
        ),
        (
            {"path_regex": "(?=a)"},
            ("match.path_regex", "is not a regular expression that RE2 takes: invalid perl operator: (?="),
        ),
        ({"path_regex": "a" * 1025}, ("match.path_regex", "takes at most 1024 characters")),
        ({"methods": ["get"]}, ("match.methods[0]", "methods are written in upper case: GET")),
        ({"methods": ["CONNECT"]}, ("match.methods[0]", "CONNECT is not proxied")),
        ({"methods": ["G T"]}, ("match.methods[0]", "is not an HTTP method")),
        ({"methods": []}, ("match.methods", "needs at least one entry")),
        ({"methods": "GET"}, ("match.methods", "has to be a list")),
        ({"headers": {"x": {}}}, ("match.headers.x", "needs exactly one of exact, present, regex")),
        ({"headers": {"x": {"present": False}}}, ("match.headers.x.present", "can only be true")),
        ({"headers": {"X": "1", "x": "2"}}, ("match.headers", "x is given twice, in different case")),
        ({"headers": {"x": 1}}, ("match.headers.x", "has to be a mapping")),
        ({"headers": []}, ("match.headers", "has to be a mapping")),
        ({"query": {"": "x"}}, ("match.query.", "must not be empty")),
    ],
)
def test_matches(match: JsonValue, problem: tuple[str, str]) -> None:
    assert one_problem("match", match) == problem


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\x00b", " a", "a ", "\x7f", "é"])
def test_header_values_hold_no_line_breaks_or_controls(value: str) -> None:
    for place in ("set", "add"):
        field, reason = one_problem("filters", [{"request_headers": {place: {"x": value}}}])
        assert field.startswith(f"filters[0].request_headers.{place}.x")
        assert reason == "has to be printable ASCII, without line breaks, and without space at either end"
    assert one_problem("match", {"headers": {"x": value}})[0].startswith("match.headers.x")


def edits_of(name: str) -> list[JsonValue]:
    return [{"set": {name: "1"}}, {"add": {name: "1"}}, {"remove": [name]}]


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "é", "a\x00"])
def test_header_names_are_tokens(name: str) -> None:
    for edit in edits_of(name):
        assert one_problem("filters", [{"response_headers": edit}])[0].startswith("filters[0].response_headers.")
    assert one_problem("match", {"headers": {name: "1"}})[0].startswith("match.headers.")


@pytest.mark.parametrize(
    "name",
    ["Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Host", "Via",
     "Expect", "X-Gateway-Hop", "X-Consul-Token", "Proxy-Connection"],
)  # fmt: skip
def test_filters_do_not_touch_what_the_gateway_manages(name: str) -> None:
    for edit in edits_of(name):
        for direction in ("request_headers", "response_headers"):
            assert "manages" in one_problem("filters", [{direction: edit}])[1]


@pytest.mark.parametrize("filters", [[{}], [{"strip_prefix": "/a", "request_headers": {}}]])
def test_a_filter_does_one_thing(filters: JsonValue) -> None:
    kinds = "host, path, query, replace_prefix, request_headers, response_headers, rewrite_path, strip_prefix"
    assert one_problem("filters", filters) == ("filters[0]", f"needs exactly one of {kinds}")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("*", "leave hostnames out to match any host"),
        ("a:80", "a hostname has no port"),
        ("http://a", "a hostname has no scheme and no path"),
        ("é.com", "write an international name in its ASCII form (xn--…)"),
        ("a..b", "is not a hostname: labels of letters, digits and dashes, with dots between, *. allowed in front"),
        ("a.", "is not a hostname: labels of letters, digits and dashes, with dots between, *. allowed in front"),
        ("-a", "is not a hostname: labels of letters, digits and dashes, with dots between, *. allowed in front"),
        ("a.*.b", "is not a hostname: labels of letters, digits and dashes, with dots between, *. allowed in front"),
        ("a b", "is not a hostname: labels of letters, digits and dashes, with dots between, *. allowed in front"),
        ("[::zz]", "a hostname has no port"),
    ],
)
def test_hostnames_refused(name: str, reason: str) -> None:
    assert one_problem("hostnames", [name]) == ("hostnames[0]", reason)


@pytest.mark.parametrize(
    "name", ["a", "a-b.example.com", "*.example.com", "10.0.0.1", "[::1]", "a_b.c", "xn--bcher-kva.ch"]
)
def test_hostnames_accepted(name: str) -> None:
    assert problems(SMALLEST | {"hostnames": [name]}) == []


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("timeouts.request", "10", "a duration is a number with a unit (ms, s, m or h), such as 250ms, 10s or 1m30s"),
        ("timeouts.request", 10, "a duration is a number with a unit (ms, s, m or h), such as 250ms, 10s or 1m30s"),
        ("timeouts.request", "-1s", "a duration is a number with a unit (ms, s, m or h), such as 250ms, 10s or 1m30s"),
        ("timeouts.request", False, "a duration is a number with a unit (ms, s, m or h), such as 250ms, 10s or 1m30s"),
        ("timeouts.request", "0.5ms", "a duration has at most millisecond precision"),
        ("timeouts.request", "25h", "has to be between 1ms and 24h, or 0: none"),
        ("timeouts.idle", "0s", "has to be between 10ms and 24h"),
        ("retry.attempts", 0, "has to be at least 1"),
        ("retry.attempts", 11, "has to be at most 10"),
        ("retry.buffer", "17MiB", "has to be between 0B and 16MiB"),
        ("retry.buffer", "64kB", "a size is a number of bytes, alone or with B, KiB, MiB or GiB, such as 64KiB"),
        ("retry.buffer", -1, "has to be between 0B and 16MiB"),
        ("limits.queue_timeout", "6m", "has to be between 1ms and 5m"),
        ("when_empty.status", 399, "has to be at least 400"),
        ("when_empty.status", 600, "has to be at most 599"),
        ("when_empty.panic", "maintenance", "has to be one of none, warning or critical"),
    ],
)
def test_bounds(part: str, value: JsonValue, reason: str) -> None:
    outer, inner = part.split(".")
    assert one_problem(outer, {inner: value}) == (part, reason)


@pytest.mark.parametrize("condition", ["truncated", "5xx", "399", 600, True, 1.5, "٥٠٠"])
def test_what_cannot_be_retried_on(condition: JsonValue) -> None:
    field, reason = one_problem("retry", {"retry_on": [condition]})
    assert field == "retry.retry_on[0]"
    assert reason == ("has to be one of connect_failure, reset, stale_connection, timeout, or a status from 400 to 599")


def test_some_time_out_must_end_a_request() -> None:
    assert one_problem("timeouts", {"request": "0s", "attempt": 0}) == (
        "timeouts",
        "request and attempt must not both be 0: a silent instance would hold requests",
    )
    defaults = parse_defaults(b"route: {timeouts: {request: 0s}}", 1)
    assert isinstance(defaults, Defaults)
    assert isinstance(parse_route("r", b"backends: [{service: a}]\ntimeouts: {attempt: 0s}", 1, defaults), Rejection)


@pytest.mark.parametrize("name", ["", "a b", "a\n", "é", "a" * 201, "/a"])
def test_names_of_routes_are_safe_everywhere(name: str) -> None:
    rejection = parse_route(name, json.dumps(SMALLEST).encode(), 1)
    assert isinstance(rejection, Rejection)
    assert rejection.field == ""


def test_messages_are_safe_to_log() -> None:
    found = check_route("r", json.dumps(SMALLEST | {"a\n\x1b[31m" + "x" * 500: 1, "\x7f": 1}).encode())
    found += check_route("r", json.dumps(SMALLEST | {"\ud800": 1}).encode())
    found += check_route("r", json.dumps(SMALLEST | {"match": {"path_regex": "(\u2028"}}).encode())
    assert len(found) == 4
    for rejection in found:
        assert str(rejection).isprintable()
        assert len(str(rejection)) < 400
    assert shown("x" * 100, 10) == "x" * 10 + "…"


def test_a_flood_of_problems_is_bounded() -> None:
    raw = json.dumps({f"field{number}": 1 for number in range(30_000)}).encode()
    found = check_route("r", raw)
    assert len(found) == 100
    assert (found[0].column, found[0].field) == (2, "field0")


def test_a_routes_own_fields_override_defaults_field_by_field() -> None:
    defaults = parse_defaults(
        b"route:\n"
        b"  timeouts: {request: 7s, idle: 9s}\n"
        b"  retry: {retry_on: ['503'], buffer: 0}\n"
        b"  limits: {in_flight: 5}\n"
        b"  when_empty: {panic: warning, retry_after: 3s}\n",
        1,
    )
    assert isinstance(defaults, Defaults)
    raw = b"backends: [{service: a}]\ntimeouts: {idle: 1s}\nretry: {attempts: 2}\nwhen_empty: {panic: none}\n"
    route = accepted(raw, defaults)
    assert route.timeouts == Timeouts(request=7, attempt=Timeouts().attempt, idle=1)
    assert route.retry == RetryPolicy(attempts=2, on_failures=frozenset(), on_statuses=frozenset({503}), buffer=0)
    assert route.limits == Limits(in_flight=5)
    assert route.when_empty == WhenEmpty(panic=None, retry_after=3)


def test_a_field_given_its_built_in_default_still_overrides() -> None:
    defaults = parse_defaults(b"route: {limits: {in_flight: 5}, retry: {attempts: 9}}", 1)
    assert isinstance(defaults, Defaults)
    route = accepted(b"backends: [{service: a}]\nlimits: {in_flight: 0}\nretry: {attempts: 3}\n", defaults)
    assert route.limits == Limits()
    assert route.retry == RetryPolicy()


def test_what_is_required_comes_from_the_defaults_unless_a_route_says_otherwise() -> None:
    defaults = parse_defaults(b"route: {require: \"'admin' in claims.roles\"}", 1)
    assert isinstance(defaults, Defaults)
    assert accepted(b"backends: [{service: a}]").require == "true"
    assert accepted(b"backends: [{service: a}]", defaults).require == "'admin' in claims.roles"
    assert accepted(b"backends: [{service: a}]\nrequire: has(claims.sub)", defaults).require == "has(claims.sub)"
    assert accepted(b"backends: [{service: a}]\nrequire: 'true'", defaults).require == "true"
    found = parse_defaults(b"route:\n  require: 'true && clams.a'\n", 1)
    assert isinstance(found, Rejection)
    assert (found.line, found.field, found.reason) == (2, "route.require", "unknown name clams; did you mean claims?")


PREDICATES = {
    "block": "when: |\n  true\n    && reqest.path == '/'\nbackends: [{service: a}]\n",
    "block with a comment": "when: | # c\n\n      true\n        && reqest.path == '/'\nbackends: [{service: a}]\n",
    "windows": "when: |\r\n  true\r\n    && reqest.path == '/'\r\nbackends: [{service: a}]\r\n",
    "require": "backends: [{service: a}]\nrequire: |\n  has(claims.sub)\n    && reqest.path == '/'\n",
    "one line": "backends: [{service: a}]\nwhen: true && reqest.path == '/'\n",
    "in quotes": "backends: [{service: a}]\nwhen: \"true && reqest.path == '/'\"\n",
    "json": '{"backends": [{"service": "a"}],\n "when": "true && reqest.path == 1"}',
}


@pytest.mark.parametrize("kind", PREDICATES)
def test_what_is_wrong_in_a_predicate_is_shown_where_it_stands(kind: str) -> None:
    text = PREDICATES[kind]
    (found,) = check_route("r", text.encode())
    assert found.reason == "unknown name reqest; did you mean request?"
    assert text.splitlines()[found.line - 1][found.column - 1 :].startswith("reqest")


def test_an_expression_that_ends_too_early_is_shown_at_its_end() -> None:
    (found,) = check_route("r", b"when: |\n  true\n  &&\nbackends: [{service: a}]\n")
    assert (found.line, found.column, found.reason) == (3, 5, "the expression ends where a value is expected")


@pytest.mark.parametrize(
    "text",
    [
        '{"when": "true && reqest.path == \\"/\\"", "backends": [{"service": "a"}]}',
        "when: >\n  true &&\n  reqest.path == '/'\nbackends: [{service: a}]\n",
        "when: true &&\n  reqest.path == '/'\nbackends: [{service: a}]\n",
    ],
)
def test_where_the_document_spells_it_otherwise_the_place_is_told_in_words(text: str) -> None:
    (found,) = check_route("r", text.encode())
    assert found.reason == "line 1, column 9 of the predicate: unknown name reqest; did you mean request?"
    assert text.splitlines()[found.line - 1][found.column - 1 :].lstrip('"').startswith("when")
