"""Redirects and direct responses: what a route answers itself."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.filters import (
    Edit,
    EditResponseHeaders,
    OwnResponse,
    Redirect,
    ReplacePrefix,
    Respond,
)
from gateway.core.model import Reason, Route
from gateway.core.paths import normalise
from gateway.core.template import parse
from gateway.discovery.regex import compile_groups
from gateway.pipeline.stage import Answer, Call
from gateway.pipeline.transform import Transform
from tests.support.calls import call


def answer(response: OwnResponse, to: Call, *edits: EditResponseHeaders) -> Answer:
    route = Route("own", 1, (), answer=response, filters=edits)
    found = Transform(route.filters, compile_groups, route.answer).request(replace(to, route=route))
    assert isinstance(found, Answer)
    return found


def location(redirect: Redirect, to: Call) -> str:
    found = answer(redirect, to)
    assert found.reason is None
    assert (found.status, found.body) == (redirect.status, b"")
    ((name, value),) = found.fields
    assert name == "Location"
    return value


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        (Redirect(scheme="https"), "https://api.example.com/a/b?q=%41"),
        (Redirect(308, scheme="https", port=8443), "https://api.example.com:8443/a/b?q=%41"),
        (Redirect(scheme="https", port=443), "https://api.example.com/a/b?q=%41"),
        (Redirect(scheme="http", port=443), "http://api.example.com:443/a/b?q=%41"),
        (Redirect(301, scheme="https", host="www.test", strip_query=True), "https://www.test/a/b"),
        (Redirect(scheme="http", host=parse("${request.header.x}.test")), "http://acme.test/a/b?q=%41"),
        (Redirect(path="/new"), "/new?q=%41"),
        (Redirect(path=parse("/${request.header.x}${request.path}"), strip_query=True), "/acme/a/b"),
        (Redirect(path=ReplacePrefix("/a", "/v2")), "/v2/b?q=%41"),
        (Redirect(path=ReplacePrefix("/a/b", "/")), "/?q=%41"),
    ],
)
def test_a_location_is_made_of_its_parts(redirect: Redirect, expected: str) -> None:
    assert location(redirect, call("/a/b", "?q=%41", [("x", "acme")])) == expected


def test_a_redirect_that_needs_a_host_refuses_who_sends_none() -> None:
    assert answer(Redirect(scheme="https"), call(host=None)).reason is Reason.BAD_REQUEST
    assert location(Redirect(scheme="https", host="a.test"), call(host=None)) == "https://a.test/"


def test_a_host_brings_no_port_of_its_own() -> None:
    redirect = Redirect(scheme="https", host=parse("${request.header.x}"), port=8443)
    assert answer(redirect, call(headers=[("x", "a.test:80")])).reason is Reason.BAD_REQUEST


@pytest.mark.parametrize("query", ["?a\x7f", "?a b", "?a\tb", "?é"])
def test_a_query_that_cannot_stand_in_a_location_is_refused(query: str) -> None:
    assert answer(Redirect(scheme="https"), call("/", query)).reason is Reason.BAD_REQUEST


ANY = st.text(max_size=12) | st.text(st.sampled_from("ab./\\%2F?#@:[] \r\n\t\x00é\ud800"), max_size=12)


@given(ANY, ANY)
@example("/evil.test", "evil.test/")
@example("..", "")
@example("\\evil.test", "evil.test:80")
@example("", "evil.test\r\nSet-Cookie: a=b")
def test_no_value_leads_to_another_host_or_breaks_the_line(path: str, host: str) -> None:
    to = call("/", "", [("p", path), ("h", host)])
    for template in ("/${request.header.p}", "/a/${request.header.p}/b", "/${request.header.p:-x}${request.path}"):
        found = answer(Redirect(path=parse(template)), to)
        if found.reason is None:
            assert re.fullmatch(r"/(?:[A-Za-z0-9._~%-][!-~]*)?", found.fields[0][1])
            assert normalise(found.fields[0][1]) == found.fields[0][1]
    found = answer(Redirect(scheme="https", host=parse("${request.header.h}.ours.test"), path="/x"), to)
    if found.reason is None:
        assert re.fullmatch(r"https://[a-z0-9_.-]+\.ours\.test/x", found.fields[0][1])


def test_a_direct_response_is_whole() -> None:
    respond = Respond(404, b"gone", "text/plain", (("X-Id", parse("${request.id}")), ("Cache-Control", "no-store")))
    assert answer(respond, call()) == Answer(
        status=404,
        fields=(("Content-Type", "text/plain"), ("X-Id", "id-1"), ("Cache-Control", "no-store")),
        body=b"gone",
    )
    assert answer(Respond(204), call()) == Answer(status=204)


def test_a_routes_response_edits_apply_to_what_it_answers_itself() -> None:
    edits = (
        EditResponseHeaders(Edit(set=(("x", parse("${request.path}")),))),
        EditResponseHeaders(Edit(remove=("content-type",))),
    )
    assert answer(Respond(200, b"ok", "text/plain"), call("/p"), *edits).fields == (("x", "/p"),)
    assert answer(Redirect(path="/n"), call("/p"), *edits).fields == (("Location", "/n"), ("x", "/p"))
