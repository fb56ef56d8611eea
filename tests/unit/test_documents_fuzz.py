"""Whatever the bytes, a document is a value or a rejection with a place in the text."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.model import Route, ServicePolicy
from gateway.core.paths import normalise
from gateway.core.routing import RoutingTable
from gateway.discovery.documents import (
    Defaults,
    Rejection,
    check_defaults,
    check_policy,
    check_route,
    parse_defaults,
    parse_policy,
    parse_route,
)
from gateway.discovery.regex import compile_full_match
from gateway.pipeline.stage import RequestHead, ResponseHead
from tests.support.calls import INSTANCE, call
from tests.support.pipelines import all_stages

GOOD_YAML = b"""\
hostnames: [api.example.com, "*.shop.example.com"]
match:
  - path_prefix: /orders
    methods: [GET, POST]
    headers: {x-tenant: acme, x-id: {regex: "[0-9]+"}, x-any: {present: true}}
    query: {on: no}
  - path_regex: /p+
backends:
  - {service: orders, weight: 9, tags: [stable], meta: {region: eu}}
filters:
  - {strip_prefix: /orders}
  - request_headers: {set: {X-Gateway: "${instance.id:-x}"}, add: {x-a: ["1", "$$"]}, remove: [cookie]}
  - {rewrite_path: {regex: "/(a)/(.*)", to: "/$2/${claims.sub}"}}
  - {query: {set: {a: "${request.query.b}"}, remove: [c]}}
  - {host: "${request.header.x}.test:80"}
timeouts: {request: 10s, attempt: 1m30s, idle: 250ms}
retry: {attempts: 4, retry_on: [connect_failure, "502", 503], methods: [GET], buffer: 1MiB}
limits: {in_flight: 200, queue: 10, queue_timeout: 1.5s, body: 1000}
when_empty: {status: 500, retry_after: 2s, panic: critical}
"""
GOOD_JSON = b"""\
{"match": [{"path_exact": "/a", "headers": {"x": {"present": true}}}],
 "backends": [{"service": "a", "weight": 1}, {"service": "b", "tags": ["t"]}],
 "filters": [{"response_headers": {"remove": ["server"]}}], "limits": {"body": "1MiB"}}"""
GOOD_OWN = b"""\
{"redirect": {"status": 301, "scheme": "https", "host": "${request.host}", "port": 1, "path": "/a${request.path}"},
 "respond": {"status": 200, "body": "x", "content_type": "a/b", "headers": {"x": "${request.id}"}},
 "filters": [{"response_headers": {"set": {"x": "y"}}}, {"replace_prefix": {"from": "/a", "to": "/b"}}]}"""
GOOD_POLICY = (
    b'{"circuit": {"failure_ratio": "50%", "window": "9s"},\n "balance": {"policy": "ring_hash", "on": "client_ip"}}'
)
GOOD_DEFAULTS = b"route:\n  timeouts: {idle: 1s}\nservice:\n  connect: {tls: {verify: false}}\n"
SPLICES = st.sampled_from(
    b"{|}|[|]|:|,|$|${|\"|'|\n| |- |? |&a |*a|!!x |<<: |---\n|null|NaN|1e999|-1|\xff|\x00|\\ud800|>\n|%YAML 1.1\n|#|0|"
    b"true|\t|\r|\xef\xbb\xbf|\xc2\x85|\xe2\x80\xa8".split(b"|")
) | st.just(b"|\n")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    raw = draw(st.sampled_from([GOOD_YAML, GOOD_JSON, GOOD_OWN, GOOD_POLICY, GOOD_DEFAULTS]))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        length = draw(st.sampled_from([0, 0, 1, 1, 2, 5, 20]))
        raw = raw[:start] + draw(SPLICES | st.binary(max_size=3)) + raw[start + length :]
    return raw


def judged(result: object, rejections: Sequence[Rejection], raw: bytes) -> None:
    if not isinstance(result, Rejection):
        assert isinstance(result, Route | ServicePolicy | Defaults)
        assert rejections == []
        return
    assert result == rejections[0]
    lines = raw.decode(errors="replace").splitlines() or [""]
    for rejection in rejections:
        assert 1 <= rejection.line <= len(lines) + 1
        assert rejection.column >= 1
        assert rejection.reason
        assert str(rejection).isprintable()
    assert [(each.line, each.column) for each in rejections] == sorted((each.line, each.column) for each in rejections)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | mutated())
@example(b"\xef\xbb\xbf")
@example(b'{"\\ud800": 1}')
@example(b"a: \xe2\x80\xa8b")
@settings(max_examples=500, deadline=None)
def test_any_bytes_give_a_value_or_a_rejection(raw: bytes) -> None:
    judged(parse_route("r", raw, 1), check_route("r", raw, 1), raw)
    judged(parse_policy("s", raw, 1), check_policy("s", raw, 1), raw)
    judged(parse_defaults(raw, 1), check_defaults(raw, 1), raw)


@given(mutated())
@settings(max_examples=200, deadline=None)
def test_an_accepted_route_goes_into_a_table_and_takes_requests(raw: bytes) -> None:
    route = parse_route("r", raw, 1)
    if isinstance(route, Route):
        through = call("/orders", "?b=1", [("x", "y")], route=route)
        RoutingTable([route], compile_full_match).match(through.facts)
        for stage in all_stages(lambda: 0.0).of(route):
            stage.request(through)
            stage.response(through, ResponseHead(200, [], instance=INSTANCE))
        for change in through.for_instance:
            change(INSTANCE, RequestHead(through.host, through.fields))
        assert normalise(through.path) == through.path


NAMES = st.sampled_from(
    [
        *(
            "match",
            "backends",
            "service",
            "weight",
            "timeouts",
            "idle",
            "headers",
            "x",
            "when",
            "require",
            "set",
            "circuit",
        ),
        *("limits", "rate", "by", "networks", "deny", "cors", "origins"),
    ]
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(JUNK, st.booleans())
@settings(max_examples=300, deadline=None)
def test_junk_of_the_right_shape_is_rejected_in_place(junk: object, indented: bool) -> None:
    raw = json.dumps(junk, indent=1 if indented else None).encode()
    judged(parse_route("r", raw, 1), check_route("r", raw, 1), raw)
    judged(parse_policy("s", raw, 1), check_policy("s", raw, 1), raw)
