"""What is in force, as a document: complete, in operators' notation, and read back as the same thing."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.model import Backend, Route, ServicePolicy
from gateway.discovery.documents import (
    BUILT_IN,
    Defaults,
    DefaultsDocument,
    RouteDocument,
    ServicePolicyDocument,
    describe,
    describe_policy,
    parse_defaults,
    parse_policy,
    parse_route,
)
from gateway.discovery.documents.units import (
    format_duration,
    format_percent,
    format_size,
    parse_duration,
    parse_percent,
    parse_size,
)

DURATIONS = st.integers(10, 60_000).map(lambda milliseconds: f"{milliseconds}ms") | st.sampled_from(
    ["1.5s", "2m", "1m30s"]
)
SIZES = st.integers(0, 1 << 20) | st.sampled_from(["64KiB", "1MiB", "7B"])
PERCENTS = st.decimals(0, 100, places=4).map(lambda number: f"{number}%")
PATHS = st.lists(st.sampled_from(["a", "b%2F", "c;d", "~"]), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
TOKENS = st.text("abcX-9", min_size=1, max_size=4)
HEADERS = TOKENS.map(lambda token: "x" + token)
FIELD_VALUES = st.text("ab ,\t;=", max_size=5).map(str.strip)
VARIABLES = st.sampled_from(
    [
        "${request.method}",
        "${request.header.X-a}",
        "${claims.https://x/y}",
        "${route.name:-none}",
        "$$",
        "${request.id}",
    ]
)
TEMPLATES = st.lists(st.sampled_from(["a", "b-c", "7"]) | VARIABLES, min_size=1, max_size=4).map("".join)
HEADER_TEMPLATES = TEMPLATES | st.sampled_from(["${instance.node}", "${instance.meta.a-b:-z}, b"])
HOST_TEMPLATES = st.sampled_from(["preserve", "service", "a.b:80", "${request.header.x-h:-h}.c", "[::1]"])
TEXTS = st.text(st.characters(blacklist_categories=("Cc", "Cs")), max_size=5)
NAMES = st.text(st.characters(blacklist_categories=("Cc", "Cs")), min_size=1, max_size=5)
PATTERNS = st.sampled_from(["a+", "[0-9]{2}", "(?i)x|y"])
METHODS = st.lists(st.sampled_from(["GET", "PUT", "M-SEARCH"]), min_size=1, max_size=2)


def _values(exact: st.SearchStrategy[str]) -> st.SearchStrategy[object]:
    return exact | st.just({"present": True}) | st.builds(lambda regex: {"regex": regex}, PATTERNS)


def _unique(names: st.SearchStrategy[str], values: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    pairs = st.lists(st.tuples(names, values), max_size=2, unique_by=lambda pair: pair[0].lower())
    return pairs.map(dict)


def _document(**fields: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({}, optional=fields)


PATH_FIELD: st.SearchStrategy[dict[str, object]] = (
    st.builds(lambda path: {"path_prefix": path}, PATHS)
    | st.builds(lambda path: {"path_exact": path}, PATHS)
    | st.builds(lambda pattern: {"path_regex": pattern}, PATTERNS)
    | st.just({})
)
MATCHES = st.builds(
    lambda path, rest: path | rest,
    PATH_FIELD,
    _document(methods=METHODS, headers=_unique(HEADERS, _values(FIELD_VALUES)), query=_unique(NAMES, _values(TEXTS))),
)
PREFIXES = st.builds(lambda from_, to: {"from": from_, "to": to}, PATHS, PATHS.filter(lambda path: "%" not in path))
EDITS = _document(
    set=_unique(HEADERS, FIELD_VALUES | HEADER_TEMPLATES),
    add=_unique(HEADERS, FIELD_VALUES | st.lists(FIELD_VALUES, min_size=1, max_size=2)),
    remove=st.lists(HEADERS, max_size=2),
)
QUERY_EDITS = _document(
    set=st.dictionaries(NAMES, TEMPLATES | TEXTS.filter(lambda text: "$" not in text), max_size=2),
    add=st.dictionaries(NAMES, TEMPLATES | st.lists(TEMPLATES, min_size=1, max_size=2), max_size=2),
    remove=st.lists(NAMES, max_size=2),
)
FILTERS = (
    st.builds(lambda path: {"strip_prefix": path}, PATHS)
    | st.builds(lambda prefix: {"replace_prefix": prefix}, PREFIXES)
    | st.builds(
        lambda to: {"rewrite_path": {"regex": "/(a)(b*)/(.*)", "to": f"/{to}"}}, TEMPLATES | st.just("$2x$1$$1")
    )
    | st.builds(lambda path: {"path": f"/{path}"}, TEMPLATES | st.just("a${request.path}"))
    | st.builds(lambda host: {"host": host}, HOST_TEMPLATES)
    | st.builds(lambda edit: {"query": edit}, QUERY_EDITS)
    | st.builds(lambda edit: {"request_headers": edit}, EDITS)
    | st.builds(lambda edit: {"response_headers": edit}, EDITS)
)
BACKENDS = st.builds(
    lambda service, rest: {"service": service} | rest,
    st.sampled_from(["a", "b-c"]),
    _document(
        weight=st.integers(1, 65535),
        tags=st.lists(NAMES, max_size=2),
        meta=st.dictionaries(NAMES, TEXTS, max_size=2),
        prefer=st.just("instance.weight > 1"),
    ),
)
NARROW_BACKENDS = st.builds(
    lambda backend, rest: backend | {"instances": "instance.node == request.headers.node"} | rest,
    BACKENDS,
    _document(otherwise=st.sampled_from(["refuse", "any"])),
)
FALLBACKS = BACKENDS.map(lambda backend: backend | {"fallback": True})
SHADOWS = _document(
    tags=st.just(["next"]),
    meta=st.just({"a": "b"}),
    percent=PERCENTS,
    buffer=SIZES,
    timeout=DURATIONS,
).map(lambda shadow: {"service": "next", **shadow})
STICKY = st.sampled_from([{"cookie": "at"}, {"cookie": "at", "max_age": "1h"}, {"header": "X-Session"}, {"none": True}])
RATES = st.sampled_from(
    [
        "7/s",
        "600/m by header X-Tenant",
        "10/d by claim a b",
        {"limit": "7/s", "burst": 3},
        {"limit": "9/h", "by": "credential"},
        {"limit": "9/h", "by": {"claim": "sub"}},
        {"limit": "9/h", "by": {"route": True}},
    ]
)
NETWORKS = st.lists(st.sampled_from(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::ffff:10.0.0.0/104"]), max_size=3)
ROUTE_POLICIES: dict[str, st.SearchStrategy[object]] = {
    "timeouts": _document(request=DURATIONS, attempt=DURATIONS, idle=DURATIONS),
    "retry": _document(
        attempts=st.integers(1, 10),
        retry_on=st.lists(st.sampled_from(["connect_failure", "timeout", "502", 503]), max_size=3),
        methods=METHODS,
        buffer=SIZES,
    ),
    "limits": _document(
        in_flight=st.integers(0, 9),
        queue=st.integers(0, 9),
        queue_timeout=DURATIONS,
        body=SIZES,
        header=SIZES,
        rate=RATES | st.lists(RATES, max_size=2, unique_by=str),
    ),
    "networks": _document(allow=NETWORKS, deny=NETWORKS),
    "require": st.sampled_from(["true", "has(claims.sub)\n&& identity.kind == 'jwt'\n"]),
    "cors": st.just({"origins": []})
    | st.builds(
        lambda origins, rest: {"origins": origins} | rest,
        st.lists(st.sampled_from(["https://a.b", "https://*.a.b:8443", "app://[::1]"]), min_size=1, max_size=2),
        _document(
            methods=METHODS,
            headers=st.lists(HEADERS, max_size=2),
            expose=st.lists(HEADERS, max_size=2),
            credentials=st.booleans(),
            max_age=st.sampled_from(["0s", "90s", "24h"]),
        ),
    ),
    "when_empty": _document(
        status=st.integers(400, 599),
        retry_after=st.integers(0, 90).map(lambda seconds: f"{seconds}s"),
        panic=st.sampled_from(["none", "warning", "critical"]),
    ),
}
REDIRECTS = st.builds(
    lambda origin, path, rest: origin | path | rest,
    st.sampled_from([{"scheme": "https"}, {"scheme": "http", "host": "${request.header.x}.a", "port": 8080}]),
    st.just({})
    | PREFIXES.map(lambda prefix: {"replace_prefix": prefix})
    | TEMPLATES.map(lambda text: {"path": f"/{text}"}),
    _document(status=st.sampled_from([301, 308]), strip_query=st.booleans()),
)
RESPONSES = _document(
    status=st.sampled_from([200, 404, 503]),
    body=st.text(max_size=5),
    content_type=st.just("text/html"),
    headers=_unique(HEADERS, FIELD_VALUES | TEMPLATES),
)
REST: dict[str, st.SearchStrategy[object]] = {
    "hostnames": st.lists(st.sampled_from(["a.b", "*.c", "[::1]", "D.e"]), min_size=1, max_size=3),
    "match": MATCHES | st.lists(MATCHES, min_size=1, max_size=2),
    "when": st.sampled_from(["true", "request.path == '/'\n|| request.headers.x == 'ü'\n"]),
    "escaped_slashes": st.sampled_from(["refuse", "pass"]),
    "websocket": st.booleans(),
    **ROUTE_POLICIES,
}
ROUTES = st.builds(
    lambda backends, fallbacks, rest: {"backends": [*backends, *fallbacks]} | rest,
    st.lists(BACKENDS | NARROW_BACKENDS, min_size=1, max_size=2),
    st.lists(FALLBACKS, max_size=1),
    _document(filters=st.lists(FILTERS, max_size=3), sticky=STICKY, shadow=SHADOWS, **REST),
) | st.builds(
    lambda answer, rest: answer | rest,
    REDIRECTS.map(lambda redirect: {"redirect": redirect}) | RESPONSES.map(lambda respond: {"respond": respond}),
    _document(filters=st.just([{"response_headers": {"set": {"x": "${request.id}"}}}]), **REST),
)
POLICIES = _document(
    circuit=_document(
        consecutive_failures=st.integers(0, 9),
        failure_ratio=PERCENTS,
        window=st.integers(1, 90).map(lambda seconds: f"{seconds}s"),
        open_for=DURATIONS,
        max_open_for=st.just("2h"),
        max_open=PERCENTS,
        failure_statuses=st.lists(st.integers(400, 599), max_size=3),
        mode=st.sampled_from(["enforce", "shadow", "off"]),
    ),
    balance=st.sampled_from(
        [
            {"policy": "least_request"},
            {"policy": "ring_hash", "on": "client_ip"},
            {"policy": "ring_hash", "on": {"header": "X-A"}},
            {"policy": "ring_hash", "on": {"cookie": "S"}},
        ]
    ),
    in_flight_per_instance=st.integers(0, 9),
    slow_start=DURATIONS,
    connect=_document(
        timeout=st.integers(1, 60_000).map(lambda milliseconds: f"{milliseconds}ms"),
        keep_alive=DURATIONS | st.just("0s"),
        tls=st.sampled_from(
            [{}, {"enabled": False}, {"verify": False, "server_name": "a.b"}, {"cert_file": "c", "key_file": "k"}]
        ),
    ),
    retry_budget=_document(ratio=PERCENTS, min_per_second=st.floats(0, 1000)),
)
DEFAULTS = st.builds(
    lambda route, service: {"route": route, "service": service},
    st.fixed_dictionaries(
        {}, optional={"filters": st.lists(FILTERS, max_size=2), "sticky": STICKY, "shadow": SHADOWS, **ROUTE_POLICIES}
    ),
    POLICIES,
)


def _bytes(document: object) -> bytes:
    return json.dumps(document).encode()


@given(ROUTES, DEFAULTS)
@settings(max_examples=200, deadline=None)
def test_a_described_route_reads_as_the_same_route_whatever_the_defaults(document: object, other: object) -> None:
    route = parse_route("r", _bytes(document), 7)
    defaults = parse_defaults(_bytes(other), 1)
    assert isinstance(route, Route), str(route)
    assert isinstance(defaults, Defaults), str(defaults)
    described = _bytes(describe(route))
    assert parse_route("r", described, 7) == route
    assert parse_route("r", described, 7, defaults) == route


@given(POLICIES, DEFAULTS)
@settings(max_examples=200, deadline=None)
def test_a_described_policy_reads_as_the_same_policy_whatever_the_defaults(document: object, other: object) -> None:
    policy = parse_policy("s", _bytes(document), 7)
    defaults = parse_defaults(_bytes(other), 1)
    assert isinstance(policy, ServicePolicy), str(policy)
    assert isinstance(defaults, Defaults), str(defaults)
    described = _bytes(describe_policy(policy))
    assert parse_policy("s", described, 7) == policy
    assert parse_policy("s", described, 7, defaults) == policy


@given(ROUTES, DEFAULTS)
@settings(max_examples=100, deadline=None)
def test_what_is_not_said_comes_from_the_defaults(document: dict[str, object], other: object) -> None:
    defaults = parse_defaults(_bytes(other), 1)
    assert isinstance(defaults, Defaults)
    route = parse_route("r", _bytes(document), 1, defaults)
    assert isinstance(route, Route)
    for field in ("timeouts", "retry", "limits", "networks", "cors", "when_empty", "require"):
        if field not in document:
            assert getattr(route, field) == getattr(defaults.route, field)
    applicable = defaults.route if route.answer is None else defaults.route.without_instances()
    for field in ("filters", "sticky", "shadow"):
        if field not in document:
            assert getattr(route, field) == getattr(applicable, field)


def test_a_description_is_in_operators_notation() -> None:
    described = describe(Route("r", 1, (Backend("a"),)))
    assert described["timeouts"] == {"request": "30s", "attempt": "15s", "idle": "1m"}
    assert described["retry"] == {
        "attempts": 3,
        "retry_on": ["connect_failure", "reset"],
        "methods": ["DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"],
        "buffer": "64KiB",
    }
    policy = describe_policy(ServicePolicy("s"))
    assert policy["connect"] == {"timeout": "250ms", "keep_alive": "4s", "tls": {"enabled": False}}
    assert policy["retry_budget"] == {"ratio": "20%", "min_per_second": 10.0}


@given(st.integers(0, 10**9 - 1))
def test_durations_and_sizes_come_back(number: int) -> None:
    assert parse_duration(format_duration(number / 1000)) == number / 1000
    assert parse_size(format_size(number)) == number


@given(st.integers(0, 1_000_000))
def test_shares_come_back(number: int) -> None:
    share = parse_percent(f"{number / 10_000:.4f}%")
    assert parse_percent(format_percent(share)) == share


def test_the_documents_defaults_are_the_cores() -> None:
    """The reference documentation shows the former, the gateway uses the latter."""
    route = RouteDocument.model_validate({"backends": [{"service": "a"}]})
    for part in ("timeouts", "retry", "limits", "networks", "cors", "when_empty"):
        fields = getattr(route, part).model_dump(mode="json")
        described = describe(Route("r", 1, (Backend("a"),)))[part]
        assert fields == described
    assert route.require == Route("r", 1, (Backend("a"),)).require
    policy = ServicePolicyDocument().model_dump(mode="json")
    described_policy = describe_policy(ServicePolicy("s"))
    for part in ("circuit", "retry_budget", "slow_start", "in_flight_per_instance"):
        assert policy[part] == described_policy[part]
    assert BUILT_IN.service == ServicePolicy("")


def test_every_field_is_described_in_the_schema() -> None:
    for model in (RouteDocument, ServicePolicyDocument, DefaultsDocument):
        schema = model.model_json_schema()
        for name, definition in {**schema["$defs"], model.__name__: schema}.items():
            for field, properties in definition.get("properties", {}).items():
                assert properties.get("description"), f"{name}.{field}"


def test_the_schema_speaks_operators_notation() -> None:
    schema = RouteDocument.model_json_schema()["$defs"]["TimeoutsDocument"]["properties"]
    assert schema["request"]["default"] == "30s"
    assert schema["request"]["type"] == "string"
    assert schema["request"]["description"].endswith("Between 1ms and 24h, or 0: none.")
    match = RouteDocument.model_json_schema()["properties"]["match"]["anyOf"]
    assert [kind.get("type", "mapping") for kind in match] == ["mapping", "array"]
