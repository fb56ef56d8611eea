"""Filters of a route, applied to requests on their way and to responses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import parse_qsl, quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import JsonValue

from gateway.core.filters import (
    Edit,
    EditQuery,
    EditRequestHeaders,
    EditResponseHeaders,
    Filter,
    HostFrom,
    ReplacePrefix,
    RewritePath,
    SetHost,
    SetPath,
    StripPrefix,
)
from gateway.core.model import Instance, Reason
from gateway.core.paths import normalise
from gateway.core.template import Text, parse
from gateway.discovery.regex import compile_groups
from gateway.pipeline.path_edits import replace_prefix, strip_prefix
from gateway.pipeline.stage import Call, Field, RequestHead, ResponseHead
from gateway.pipeline.transform import Transform
from tests.support.calls import INSTANCE, OTHER_INSTANCE, ROUTE, call

PASSING = replace(ROUTE, pass_escaped_slashes=True)


def sent(through: Call, *filters: Filter) -> Call:
    assert Transform(filters, compile_groups).request(through) is None
    return through


def refused(through: Call, *filters: Filter) -> Reason | None:
    answer = Transform(filters, compile_groups).request(through)
    assert answer is not None
    assert answer.status == 200
    return answer.reason


def header(value: str, through: Call) -> str:
    edit = EditRequestHeaders(Edit(set=(("x", parse(value)),)))
    ((_, found),) = sent(through, edit).fields[-1:]
    return found


# --- prefixes ---


@pytest.mark.parametrize(
    ("path", "prefix", "expected"),
    [
        ("/orders", "/orders", "/"),
        ("/orders/", "/orders", "/"),
        ("/orders/1", "/orders", "/1"),
        ("/orders/1", "/orders/", "/1"),
        ("/ordersx", "/orders", "/ordersx"),
        ("/a/orders", "/orders", "/a/orders"),
        ("/orders%2F1", "/orders", "/orders%2F1"),
        ("/a/b/c", "/a/b", "/c"),
        ("/", "/orders", "/"),
        ("/orders", "/", "/orders"),
    ],
)
def test_a_prefix_is_cut_by_whole_elements(path: str, prefix: str, expected: str) -> None:
    assert strip_prefix(path, prefix) == expected
    assert replace_prefix(path, prefix, "/") == expected


@pytest.mark.parametrize(
    ("path", "prefix", "by", "expected"),
    [
        ("/orders", "/orders", "/v2/orders", "/v2/orders"),
        ("/orders/", "/orders", "/v2", "/v2/"),
        ("/orders/1", "/orders", "/v2/", "/v2/1"),
        ("/ordersx", "/orders", "/v2", "/ordersx"),
        ("/x", "/", "/v2", "/v2/x"),
        ("/", "/", "/v2", "/v2/"),
    ],
)
def test_a_prefix_is_replaced_by_whole_elements(path: str, prefix: str, by: str, expected: str) -> None:
    assert sent(call(path), ReplacePrefix(prefix, by)).path == expected


ELEMENTS = st.lists(st.sampled_from(["a", "b", "%2F", "c.d", "..."]), max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)


@given(ELEMENTS, ELEMENTS, ELEMENTS)
def test_what_prefixes_leave_is_a_normal_path(path: str, prefix: str, by: str) -> None:
    left = strip_prefix(path, prefix)
    assert left.startswith("/")
    assert normalise(left) == left
    assert path.endswith(left) or left == "/"
    replaced = replace_prefix(path, prefix, by)
    assert normalise(replaced) == replaced


# --- rewriting ---


def rewriting(pattern: str, to: str) -> RewritePath:
    return RewritePath(pattern, parse(to, groups=9))


@pytest.mark.parametrize(
    ("path", "pattern", "to", "expected"),
    [
        ("/u/12/a/b", "^/u/([0-9]+)/(.*)$", "/users/$1/$2", "/users/12/a/b"),
        ("/u/12/a", "/u/([0-9]+)/(.*)", "/$2/$1", "/a/12"),
        ("/x/u/12/a", "/u/([0-9]+)/(.*)", "/users/$1", "/x/u/12/a"),
        ("/u/12", "/u/(.*?)(x)?", "/users/$1$2", "/users/12"),
        ("/u/12", "/u/12", "/fixed$$", "/fixed$"),
        ("/u/12", "/u/(.*)", "/${request.header.x-tenant:-none}/$1", "/none/12"),
    ],
)
def test_a_path_is_rewritten_where_the_pattern_matches_all_of_it(
    path: str, pattern: str, to: str, expected: str
) -> None:
    assert sent(call(path), rewriting(pattern, to)).path == expected


@pytest.mark.parametrize(
    ("path", "to"),
    [("/u/..x", "/$1./y"), ("/u/", "/a/$1/b"), ("/u/x", "/a/../$1"), ("/u/2e2e", "/%$1"), ("/u/3F", "/a%")],
)
def test_a_rewrite_that_is_not_normal_is_refused_not_repaired(path: str, to: str) -> None:
    pattern = r"/u/(.*?)x?" if "x" not in path else r"/u/(\.|.*)\.?x"
    assert refused(call(path), rewriting(pattern, to)) is Reason.BAD_REQUEST


def test_a_rewrite_makes_neither_query_nor_fragment() -> None:
    rewritten = sent(call("/u/a%3Fb%23c", "?q=1"), rewriting("/u/(.*)", "/users/$1"))
    assert (rewritten.path, rewritten.query) == ("/users/a%3Fb%23c", "?q=1")


def test_an_escaped_slash_is_opaque_and_leaves_only_where_the_route_passes_it() -> None:
    split = rewriting("/u/(.*)F(.*)", "/$1F$2")
    assert sent(call("/u/a%2Fb", route=PASSING), split).path == "/a%2Fb"
    by_header = SetPath(parse("/t/${request.header.x}/y"))
    assert sent(call("/", headers=[("x", "a/b")], route=PASSING), by_header).path == "/t/a%2Fb/y"
    assert refused(call("/", headers=[("x", "a/b")]), by_header) is Reason.BAD_REQUEST
    assert refused(call("/", headers=[("x", "../b")], route=PASSING), by_header) is Reason.BAD_REQUEST


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_path_with_an_element_that_is_none_is_refused(value: str) -> None:
    assert refused(call("/", headers=[("x", value)]), SetPath(parse("/t/${request.header.x}/y"))) is Reason.BAD_REQUEST


def test_the_requests_path_stands_in_a_path_as_it_is() -> None:
    assert sent(call("/a/b"), SetPath(parse("/v2${request.path}"))).path == "/v2/a/b"
    for asked, path in (("/", "/x"), ("/a/", "/a/x"), ("/a", "/a/x")):
        assert sent(call(asked), SetPath(parse("${request.path}/x"))).path == path
        rewritten = RewritePath(".*", parse("${request.path}/x", groups=0))
        assert sent(call(asked), rewritten).path == path
    assert sent(call("/"), SetPath(parse("${request.path:-/y}/x"))).path == "/x", "a path has always a value"
    assert sent(call("/a/"), SetPath(parse("${request.path}${request.method}"))).path == "/a/GET"
    assert header("${request.path}", sent(call("/a"), SetPath("/b"))) == "/a", "variables are the client's"


def test_a_target_that_grows_too_long_is_refused() -> None:
    long = [("x", "é".encode().decode("latin-1") * 4000)]
    assert refused(call("/", headers=long), SetPath(parse("/${request.header.x}"))) is Reason.URI_TOO_LONG
    query = EditQuery(Edit(set=(("q", parse("${request.header.x}")),)))
    assert refused(call("/", headers=long), query) is Reason.URI_TOO_LONG
    assert refused(call("/a" * 4096), ReplacePrefix("/", "/v2")) is Reason.URI_TOO_LONG


def test_filters_apply_in_their_order() -> None:
    filters = (
        StripPrefix("/a"),
        EditRequestHeaders(Edit(set=(("x", "1"),))),
        ReplacePrefix("/b", "/d"),
        rewriting("/d/(.*)", "/e/$1"),
        EditRequestHeaders(Edit(remove=("X",), add=(("y", "2"),))),
    )
    through = sent(call("/a/b/c", headers=[("z", "0")]), *filters)
    assert (through.path, through.fields) == ("/e/c", [("z", "0"), ("y", "2")])


# --- host ---


def test_the_host_is_the_clients_unless_a_filter_says_otherwise() -> None:
    assert sent(call(), StripPrefix("/a")).host == "api.example.com:8080"
    assert sent(call(), SetHost("Inner.Test:81")).host == "inner.test:81"
    assert sent(call(), SetHost("inner.test"), SetHost(HostFrom.CLIENT)).host == "api.example.com:8080"
    assert sent(call(headers=[("x", "acme")]), SetHost(parse("${request.header.x}.test"))).host == "acme.test"


def test_the_host_may_be_the_service_that_takes_the_request() -> None:
    through = sent(call(), SetHost("first.test"), SetHost(HostFrom.SERVICE))
    assert at(through).host == "orders"


@pytest.mark.parametrize(
    "value", ["", "a b", "a/b", "a@b", "a:99999999", "a:65536", "a:0", "-\r\n", "a..b", "é", "a" * 300]
)
def test_what_is_no_host_is_refused(value: str) -> None:
    assert refused(call(headers=[("x", value)]), SetHost(parse("${request.header.x}"))) is Reason.BAD_REQUEST


# --- query ---


@pytest.mark.parametrize(
    ("query", "edit", "expected"),
    [
        ("?a=1&b=%41&&c", Edit(), "?a=1&b=%41&&c"),
        ("?a=1&b=%41&&c", Edit(remove=("a",)), "?b=%41&&c"),
        ("?a=1&%61=2&A=3", Edit(remove=("a",)), "?A=3"),
        ("?a+b=1&c", Edit(remove=("a b",)), "?c"),
        ("?a=1", Edit(remove=("a",)), ""),
        ("?", Edit(remove=("a",)), "?"),
        ("?b=2", Edit(remove=("a",)), "?b=2"),
        ("", Edit(set=(("a", "x y&z=#/é"),)), "?a=x%20y%26z%3D%23%2F%C3%A9"),
        ("?a=1&a=2&b", Edit(set=(("a", "3"),)), "?b&a=3"),
        ("?a=1", Edit(add=(("a", "2"), ("a&", ""))), "?a=1&a=2&a%26="),
        ("?a=1", Edit(set=(("b", parse("<${request.query.a}>")),)), "?a=1&b=%3C1%3E"),
    ],
)
def test_a_query_is_edited_and_the_rest_stays_byte_for_byte(query: str, edit: Edit, expected: str) -> None:
    assert sent(call("/", query), EditQuery(edit)).query == expected


# --- headers ---


def edited(edit: Edit, fields: Sequence[Field]) -> list[Field]:
    return sent(call(headers=fields), EditRequestHeaders(edit)).fields


def test_set_replaces_every_value_of_any_case() -> None:
    edit = Edit(set=(("X-A", "new"),))
    assert edited(edit, [("x-a", "1"), ("b", "2"), ("X-a", "3")]) == [("b", "2"), ("X-A", "new")]


def test_set_gives_a_header_that_was_not_there() -> None:
    assert edited(Edit(set=(("x-a", "1"),)), []) == [("x-a", "1")]


def test_add_keeps_what_is_there() -> None:
    edit = Edit(add=(("x-a", "2"), ("x-a", "3")))
    assert edited(edit, [("x-a", "1")]) == [("x-a", "1"), ("x-a", "2"), ("x-a", "3")]


def test_remove_drops_every_value_of_any_case() -> None:
    assert edited(Edit(remove=("Cookie",)), [("cookie", "1"), ("COOKIE", "2"), ("b", "3")]) == [("b", "3")]


def test_what_is_removed_can_be_added_anew() -> None:
    assert edited(Edit(add=(("x-a", "new"),), remove=("x-a",)), [("x-a", "old")]) == [("x-a", "new")]


def test_what_is_added_stands_behind_what_is_set() -> None:
    edit = Edit(set=(("x-a", parse("${request.method}")),), add=(("x-a", "2"),))
    assert edited(edit, [("x-a", "0")]) == [("x-a", "GET"), ("x-a", "2")]


def test_each_direction_has_its_own_edits() -> None:
    transform = Transform(
        [
            EditRequestHeaders(Edit(set=(("to-instance", "1"),))),
            EditResponseHeaders(Edit(set=(("to-client", "1"),))),
        ],
        compile_groups,
    )
    through, head = call(), ResponseHead(200, [], instance=INSTANCE)
    transform.request(through)
    transform.response(through, head)
    assert through.fields == [("to-instance", "1")]
    assert head.fields == [("to-client", "1")]


def test_what_the_gateway_itself_answers_stays_as_it_is() -> None:
    head = ResponseHead(503, [("a", "1")], ours=True)
    Transform([EditResponseHeaders(Edit(remove=("a",)))], compile_groups).response(call(), head)
    assert head.fields == [("a", "1")]


# --- variables ---


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${request.method}", "GET"),
        ("${request.path}", "/a%20b"),
        ("${request.host}", "api.example.com"),
        ("${request.query.q}", "1 2"),
        ("${request.query.none}", ""),
        ("${request.query.empty:-default}", "default"),
        ("${request.header.X-Tenant}", "acme"),
        ("${request.cookie.sid}", "s1"),
        ("${request.cookie.none:-none}", "none"),
        ("${request.client_ip}", "192.0.2.1"),
        ("${request.id}", "id-1"),
        ("${route.name}", "orders-v2"),
        ("${claims.sub}", "ann"),
        ("${claims.none:-nobody}", "nobody"),
        ("$$${request.method}: ${claims.sub}!", "$GET: ann!"),
        ("Bearer ${claims.none}", "Bearer"),
    ],
)
def test_what_variables_stand_for(template: str, value: str) -> None:
    headers = [("x-tenant", "acme"), ("x-tenant", "other"), ("cookie", "a=b; sid=s1; sid=s2")]
    through = call("/a%20b", "?q=1+2&q=3&empty=", headers, claims={"sub": "ann"})
    assert header(template, through) == value


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        (True, "true"),
        (7, "7"),
        (1.5, "1.5"),
        (None, "-"),
        (["a,b", "c"], '["a,b","c"]'),
        ({"é": [1]}, '{"\\u00e9":[1]}'),
        ("", "-"),
        ("é", "-"),
        ("a\r\nx: y", "-"),
        ("\ud800", "-"),
    ],
)
def test_claims_are_texts_or_json(claim: JsonValue, value: str) -> None:
    assert header("${claims.c:--}", call(claims={"c": claim})) == value


def at(through: Call, instance: Instance = INSTANCE) -> RequestHead:
    head = RequestHead(through.host, list(through.fields))
    for change in through.for_instance:
        change(instance, head)
    return head


def of_instance(text: str) -> Text:
    return parse(text, instance=True)


def test_each_attempt_is_told_its_own_instance() -> None:
    names = ("id", "service", "node", "address", "datacenter", "meta.zone", "meta.none:-x")
    text = of_instance(" ".join(f"${{instance.{name}}}" for name in names))
    through = sent(call(headers=[("a", "1")]), EditRequestHeaders(Edit(set=(("x", text),))))
    assert through.fields == [("a", "1")]
    assert at(through).fields == [("a", "1"), ("x", "orders-1 orders node-1 10.0.0.7 dc1 a x")]
    assert at(through, OTHER_INSTANCE).fields == [("a", "1"), ("x", "orders-2 orders node-2 10.0.0.8 dc2 b x")]


def test_edits_behind_one_that_names_the_instance_keep_their_order() -> None:
    through = sent(
        call(),
        EditRequestHeaders(Edit(set=(("x", of_instance("${instance.node}")), ("y", "1")))),
        EditRequestHeaders(Edit(remove=("x",), add=(("y", "2"),))),
        StripPrefix("/a"),
    )
    assert at(through).fields == [("y", "1"), ("y", "2")]


def test_a_route_that_does_not_name_the_instance_has_nothing_to_do_for_it() -> None:
    through = sent(call(), EditRequestHeaders(Edit(set=(("x", parse("${request.id}")),))), SetHost("a.test"))
    assert through.for_instance == ()


def test_a_response_names_the_instance_that_answered() -> None:
    transform = Transform(
        [EditResponseHeaders(Edit(set=(("x", of_instance("${instance.id} ${request.path}")),)))], compile_groups
    )
    head = ResponseHead(200, [], instance=OTHER_INSTANCE)
    transform.response(call("/p"), head)
    assert head.fields == [("x", "orders-2 /p")]


# --- whatever a client sends ---

ANY = st.text(max_size=12) | st.text(st.sampled_from("a./\\%2F?#&=;: \r\n\t\x00\x7f\x85\u2028é\ud800"), max_size=12)
FIELD_VALUE = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?").fullmatch


@given(ANY, ANY)
@example("a\r\nx-evil: 1", "\x00")
def test_any_value_makes_one_valid_field(claim: str, value: str) -> None:
    found = header("${claims.c}${request.header.x}", call(headers=[("x", value)], claims={"c": claim}))
    assert FIELD_VALUE(found)


@given(ANY, ANY, st.booleans())
def test_any_value_makes_a_normal_path_of_as_many_elements_or_a_refusal(claim: str, value: str, passing: bool) -> None:
    through = call("/p/q", headers=[("x", value)], claims={"c": claim}, route=PASSING if passing else ROUTE)
    filters = [SetPath(parse("/a/${claims.c}-${request.header.x:-none}/b${request.path}"))]
    if Transform(filters, compile_groups).request(through) is None:
        assert normalise(through.path) == through.path
        assert through.path.count("/") == 5
        assert through.path.startswith("/a/")
        assert through.path.endswith("/b/p/q")
        assert through.query == ""


@given(st.text(st.sampled_from("ab./;%F2e"), max_size=12), st.booleans())
@example("x/../admin", True)
@example("..;x", True)
def test_any_path_is_rewritten_to_a_normal_one_or_refused(rest: str, passing: bool) -> None:
    try:
        path = normalise(f"/u/{rest}")
    except ValueError:
        return
    for to in ("/v/$1", "/v/$1/$2", "/$2$1", "/$1.$2", "/v/.$1", "/v%$1"):
        through = call(path, route=PASSING if passing else ROUTE)
        if Transform([rewriting("/u(.*?)(/.*)?", to)], compile_groups).request(through) is None:
            assert normalise(through.path) == through.path


@given(ANY, st.lists(st.tuples(ANY, ANY), max_size=3))
def test_any_value_makes_one_parameter(claim: str, others: list[tuple[str, str]]) -> None:
    pairs = [(name.encode(errors="replace"), value.encode(errors="replace")) for name, value in others]
    query = "?z=1" + "".join(f"&{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    edit = Edit(set=(("t", parse("<${claims.c}>")),))
    made = sent(call("/", query, claims={"c": claim}), EditQuery(edit)).query
    assert re.fullmatch(r"[!-~]+", made)
    assert "#" not in made
    kept, _, added = made.rpartition("&")
    assert kept.split("&") == [pair for pair in query.split("&") if unquote(pair.split("=")[0]) != "t"]
    ((name, value),) = parse_qsl(added)
    assert name == "t"
    assert value in ("<>", f"<{claim}>")


@given(ANY)
def test_any_value_makes_a_host_or_a_refusal(value: str) -> None:
    through = call(headers=[("x", value)])
    if Transform([SetHost(parse("${request.header.x}.test"))], compile_groups).request(through) is None:
        assert re.fullmatch(r"[a-z0-9_.-]+", through.host or "")
