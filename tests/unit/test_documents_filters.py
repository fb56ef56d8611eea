"""Filters and answers in route documents: what they read as, and what is refused, where and in which words."""

from __future__ import annotations

import json

import pytest
from pydantic import JsonValue

from gateway.core.filters import (
    Edit,
    EditQuery,
    EditRequestHeaders,
    EditResponseHeaders,
    Filter,
    HostFrom,
    OwnResponse,
    Redirect,
    ReplacePrefix,
    Respond,
    RewritePath,
    SetHost,
    SetPath,
)
from gateway.core.model import Route
from gateway.core.template import Group, Source, Template, Variable
from gateway.discovery.documents import Defaults, check_defaults, check_route, parse_defaults, parse_route

BACKENDS: dict[str, JsonValue] = {"backends": [{"service": "orders"}]}
TENANT = Variable(Source.HEADER, "x-tenant")


def route(document: dict[str, JsonValue]) -> Route:
    found = parse_route("r", json.dumps(document).encode(), 1)
    assert isinstance(found, Route), str(found)
    return found


def problems(document: dict[str, JsonValue]) -> list[tuple[str, str]]:
    return [(found.field, found.reason) for found in check_route("r", json.dumps(document).encode())]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"replace_prefix": {"from": "/orders", "to": "/v2/orders/"}}, ReplacePrefix("/orders", "/v2/orders")),
        (
            {"rewrite_path": {"regex": "^/u/([0-9]+)/(.*)$", "to": "/users/$1/$2"}},
            RewritePath("^/u/([0-9]+)/(.*)$", Template(("/users/", Group(1), "/", Group(2)))),
        ),
        ({"path": "/t/${request.header.X-Tenant}/x"}, SetPath(Template(("/t/", TENANT, "/x")))),
        ({"host": "preserve"}, SetHost(HostFrom.CLIENT)),
        ({"host": "service"}, SetHost(HostFrom.SERVICE)),
        ({"host": "${request.header.x-tenant}.test:80"}, SetHost(Template((TENANT, ".test:80")))),
        (
            {"query": {"set": {"a b": "$$"}, "add": {"c": ["1", "${request.header.x-tenant}"]}, "remove": ["d"]}},
            EditQuery(Edit((("a b", "$"),), (("c", "1"), ("c", Template((TENANT,)))), ("d",))),
        ),
        (
            {"request_headers": {"set": {"x": "${instance.node}"}}},
            EditRequestHeaders(Edit((("x", Template((Variable(Source.INSTANCE_NODE),))),))),
        ),
    ],
)
def test_filters_are_read(document: JsonValue, expected: Filter) -> None:
    assert route(BACKENDS | {"filters": [document]}).filters == (expected,)


@pytest.mark.parametrize(
    ("filter_", "field", "reason"),
    [
        ({"replace_prefix": {"from": "/a"}}, "replace_prefix.to", "is required"),
        ({"replace_prefix": {"from": "/a", "too": "/b"}}, "replace_prefix.too", "unknown field; did you mean to?"),
        ({"replace_prefix": {"form": "/a", "to": "/b"}}, "replace_prefix.form", "unknown field; did you mean from?"),
        (
            {"rewrite_path": {"regex": "/(a", "to": "/b"}},
            "rewrite_path.regex",
            "is not a regular expression that RE2 takes: missing ): /(a",
        ),
        (
            {"rewrite_path": {"regex": "/(a)", "to": "/$2"}},
            "rewrite_path.to",
            "character 2: there is no group 2: the pattern has 1",
        ),
        ({"rewrite_path": {"regex": "/a", "to": "/b?c"}}, "rewrite_path.to", "a path ends before the question mark"),
        ({"rewrite_path": {"regex": "/(a)", "to": "$1"}}, "rewrite_path.to", "a path has to start with a slash"),
        ({"rewrite_path": {"regex": "/a", "to": "/a/../b"}}, "rewrite_path.to", "is not in normal form; write /b"),
        ({"path": "/a#b"}, "path", "a request's path must not hold a fragment"),
        ({"path": "/a/../${request.id}"}, "path", "makes no path in normal form"),
        ({"path": "/a/${request.path}"}, "path", "makes no path in normal form"),
        ({"path": "/a/${request.query.x:-..}"}, "path", "makes no path in normal form"),
        (
            {"path": "/a/${request.query.x:-../b}"},
            "path",
            "a dot segment is hidden behind a path parameter or an escaped slash",
        ),
        ({"path": "/a%2Fb"}, "path", "an escaped slash passes only where the route says escaped_slashes: pass"),
        (
            {"replace_prefix": {"from": "/a", "to": "/b%5Cc"}},
            "replace_prefix.to",
            "an escaped slash passes only where the route says escaped_slashes: pass",
        ),
        (
            {"rewrite_path": {"regex": "/(a)", "to": "/$1%2F"}},
            "rewrite_path.to",
            "an escaped slash passes only where the route says escaped_slashes: pass",
        ),
        ({"path": "${request.id}"}, "path", "a path has to start with a slash"),
        ({"path": "/a\r\nb"}, "path", "a path must not hold spaces, control characters or non-ASCII characters"),
        (
            {"path": "/${request.heder.x}"},
            "path",
            "character 2: there is no such variable; did you mean request.header.x?",
        ),
        (
            {"path": "/${instance.node}"},
            "path",
            "character 2: instance.node is known only once an instance is picked, and stands in headers alone",
        ),
        ({"host": "a b"}, "host", "is no host name or address"),
        ({"host": "a/b"}, "host", "is no host name or address"),
        ({"host": ""}, "host", "is no host name or address"),
        ({"host": "${request.query.h:-a b}.test"}, "host", "is no host name or address"),
        ({"host": "a.test:${request.query.p:-70000}"}, "host", "is no host name or address"),
        ({"host": "a:70000"}, "host", "has no such port"),
        ({"host": "a." * 127 + "abc"}, "host", "is no host name or address"),
        ({"query": {"set": {"a": "b\nc"}}}, "query.set.a", "must not hold control characters"),
        ({"query": {"set": {"a": "${request.id:-\u0001}"}}}, "query.set.a", "must not hold control characters"),
        (
            {"request_headers": {"set": {"x": "a\r\nb"}}},
            "request_headers.set.x",
            "has to be printable ASCII, without line breaks, and without space at either end",
        ),
        (
            {"request_headers": {"set": {"x": "${request.id} "}}},
            "request_headers.set.x",
            "has to be printable ASCII, without line breaks, and without space at either end",
        ),
        (
            {"request_headers": {"add": {"x": ["${request.id:-a\r\nb}"]}}},
            "request_headers.add.x[0]",
            "has to be printable ASCII, without line breaks, and without space at either end",
        ),
        (
            {"request_headers": {"set": {"x": "cost: $5"}}},
            "request_headers.set.x",
            "character 7: a dollar sign that stands for itself is written $$",
        ),
        (
            {"request_headers": {"set": {"x": "${request.header.Host}"}}},
            "request_headers.set.x",
            "host belongs to the client's connection, and is no variable; request.host is the host",
        ),
        (
            {"request_headers": {"set": {"x": "${request.header.x-forwarded-for}"}}},
            "request_headers.set.x",
            "what x-forwarded-for says may be forged; request.client_ip and request.id are what is trusted",
        ),
    ],
)
def test_a_bad_filter_is_refused_in_its_place(filter_: JsonValue, field: str, reason: str) -> None:
    assert problems(BACKENDS | {"filters": [filter_]}) == [(f"filters[0].{field}", reason)]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"redirect": {"scheme": "https"}}, Redirect(scheme="https")),
        (
            {"redirect": {"status": 301, "scheme": "http", "host": "a.test", "port": 81, "path": "/b"}},
            Redirect(301, "http", "a.test", 81, "/b"),
        ),
        (
            {"redirect": {"replace_prefix": {"from": "/a", "to": "/b"}, "strip_query": True}},
            Redirect(path=ReplacePrefix("/a", "/b"), strip_query=True),
        ),
        ({"respond": {}}, Respond()),
        ({"respond": {"status": 204}}, Respond(204)),
        ({"respond": {"body": "é$"}}, Respond(200, "é$".encode(), "text/plain; charset=utf-8")),
        (
            {"respond": {"status": 404, "headers": {"X-Id": "${request.id}"}}},
            Respond(404, headers=(("X-Id", Template((Variable(Source.REQUEST_ID),))),)),
        ),
    ],
)
def test_answers_are_read(document: dict[str, JsonValue], expected: OwnResponse) -> None:
    found = route(document)
    assert found.answer == expected
    assert found.backends == ()


REDIRECT: dict[str, JsonValue] = {"redirect": {"path": "/b"}}
BODY = "é" * (32 * 1024) + "x"


@pytest.mark.parametrize(
    ("document", "field", "reason"),
    [
        ({}, "backends", "is required, unless there is a redirect or respond"),
        (BACKENDS | REDIRECT, "redirect", "a route has only one of backends, redirect, respond"),
        (REDIRECT | {"respond": {}}, "respond", "a route has only one of backends, redirect, respond"),
        (
            {"redirect": {"status": 301}},
            "redirect",
            "needs a scheme, path or replace_prefix: it would lead to where it was asked",
        ),
        ({"redirect": {"host": "a.test"}}, "redirect", "host and port need a scheme"),
        (
            {"redirect": {"scheme": "https", "host": "${request.host:-a/b}"}},
            "redirect.host",
            "is no host name or address",
        ),
        ({"redirect": {"scheme": "https", "host": "a.test:1"}}, "redirect.host", "is no host name or address"),
        (
            {"redirect": {"path": "/a", "replace_prefix": {"from": "/", "to": "/"}}},
            "redirect",
            "takes only one of path, replace_prefix",
        ),
        ({"redirect": {"status": 300, "path": "/a"}}, "redirect.status", "has to be one of 301, 302, 303, 307 or 308"),
        (
            {"redirect": {"path": "/a%2Fb"}},
            "redirect.path",
            "an escaped slash passes only where the route says escaped_slashes: pass",
        ),
        (
            {"redirect": {"replace_prefix": {"from": "/a", "to": "/b%2F"}}},
            "redirect.replace_prefix.to",
            "an escaped slash passes only where the route says escaped_slashes: pass",
        ),
        ({"respond": {"status": 101}}, "respond.status", "has to be at least 200"),
        ({"respond": {"status": 204, "body": "x"}}, "respond", "a response of status 204 has no body"),
        ({"respond": {"body": BODY}}, "respond.body", "takes at most 64KiB"),
        (
            {"respond": {"headers": {"Content-Type": "a/b"}}},
            "respond.headers",
            "content-type has a field of its own: content_type",
        ),
        (
            {"respond": {"headers": {"content-length": "3"}}},
            "respond.headers.content-length",
            "is a header that the gateway itself manages; filters must not touch it",
        ),
        (
            {"respond": {"headers": {"x": "${instance.id}"}}},
            "respond.headers.x",
            "character 1: instance.id is known only once an instance is picked, and stands in headers alone",
        ),
        (
            REDIRECT | {"filters": [{"strip_prefix": "/a"}]},
            "filters[0].strip_prefix",
            "only response_headers edit what a route answers itself",
        ),
        (
            {"respond": {}, "filters": [{"response_headers": {"set": {"x": "${instance.id}"}}}]},
            "filters[0].response_headers",
            "no instance takes part in what a route answers itself",
        ),
    ],
)
def test_a_bad_answer_is_refused_in_its_place(document: dict[str, JsonValue], field: str, reason: str) -> None:
    assert problems(document) == [(field, reason)]


def test_an_escaped_slash_of_the_routes_own_goes_where_they_are_passed() -> None:
    found = route(BACKENDS | {"filters": [{"path": "/a%2Fb"}], "escaped_slashes": "pass"})
    assert found.filters == (SetPath("/a%2Fb"),)


def test_filters_of_the_defaults_are_for_routes_without_their_own() -> None:
    with_instance: JsonValue = {"response_headers": {"set": {"x-served-by": "${instance.id}"}}}
    filters: JsonValue = [{"strip_prefix": "/a"}, {"response_headers": {"remove": ["server"]}}, with_instance]
    defaults = parse_defaults(json.dumps({"route": {"filters": filters}}).encode(), 1)
    assert isinstance(defaults, Defaults), str(defaults)

    def filters_of(document: dict[str, JsonValue]) -> tuple[Filter, ...]:
        found = parse_route("r", json.dumps(document).encode(), 1, defaults)
        assert isinstance(found, Route), str(found)
        return found.filters

    assert len(filters_of(BACKENDS)) == 3
    assert filters_of(BACKENDS | {"filters": []}) == ()
    assert filters_of(BACKENDS | {"filters": [{"path": "/b"}]}) == (SetPath("/b"),)
    assert filters_of({"respond": {}}) == (EditResponseHeaders(Edit(remove=("server",))),), "no instance takes part"


def test_default_filters_make_no_path_that_routes_do_not_pass() -> None:
    (found,) = check_defaults(b"route:\n  filters:\n    - path: /a%2Fb\n")
    assert (found.line, found.column, found.field) == (3, 7, "route.filters[0].path")
    assert found.reason == "an escaped slash passes only where the route says escaped_slashes: pass"


def test_a_problem_has_its_line_and_column() -> None:
    raw = b"backends: [{service: a}]\nfilters:\n  - path: /${reqest.path}\n"
    (found,) = check_route("r", raw)
    assert (found.line, found.column, found.field) == (3, 5, "filters[0].path")
    assert found.reason == "character 2: there is no such variable; did you mean request.path?"
