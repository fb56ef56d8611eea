"""CORS: which origins are allowed, what preflights are told, and what stands in each answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.limits import Cors
from gateway.core.model import Reason
from gateway.pipeline.cors import CrossOrigin, Origins, preflighted
from gateway.pipeline.stage import Call, Field, ResponseHead
from tests.unit.pipeline_support import ROUTE, answer_of, call

APP = "https://app.example.com"
PLAIN = Cors((APP,))
FULL = Cors(
    (APP, "https://*.shop.example.com"), ("GET", "PUT"), ("Content-Type", "X-Id"), ("X-Total", "X-Next"), True, 60.0
)


def from_page(origin: str = APP) -> Call:
    return call(("Origin", origin))


def preflight(origin: str = APP, method: str = "PUT") -> Call:
    return call(("Origin", origin), ("Access-Control-Request-Method", method), method="OPTIONS")


def answered(cors: Cors, asked: Call, *fields: Field, ours: bool = False) -> list[Field]:
    head = ResponseHead(200, list(fields), ours)
    CrossOrigin(cors).response(asked, head)
    return head.fields


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        (APP, APP, True),
        (APP, "http://app.example.com", False),
        (APP, APP + ":8443", False),
        (APP, "https://app.example.com.evil.test", False),
        (APP, "null", False),
        ("https://*.example.com", "https://a.example.com", True),
        ("https://*.example.com", "https://a.b-c.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://.example.com", False),
        ("https://*.example.com", "https://evilexample.com", False),
        ("https://*.example.com", "https://evil.test/.example.com", False),
        ("https://*.example.com", "https://evil.test#.example.com", False),
        ("https://*.example.com", "https://u@a.example.com", False),
        ("https://*.example.com", "http://a.example.com", False),
        ("https://*.example.com", "https://a.example.com:8443", False),
        ("https://*.example.com:8443", "https://a.example.com:8443", True),
        ("https://*.example.com", "https://*.example.com", False),
        ("https://*.example.com", "null", False),
        ("https://*.e.com", "https://e.com", False),
        ("*", "https://anybody.test", True),
        ("*", "null", True),
    ],
)
def test_origins(allowed: str, origin: str, expected: bool) -> None:
    assert (origin in Origins([allowed])) is expected


def test_a_page_of_an_allowed_origin_may_read_the_answer() -> None:
    assert answered(FULL, from_page(), ("X-A", "1")) == [
        ("X-A", "1"),
        ("Vary", "Origin"),
        ("Access-Control-Allow-Origin", APP),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", "X-Total, X-Next"),
    ]


def test_without_credentials_nothing_is_said_of_them() -> None:
    assert answered(PLAIN, from_page()) == [("Vary", "Origin"), ("Access-Control-Allow-Origin", APP)]


@pytest.mark.parametrize(
    "asked", [call(), from_page("https://other.test"), call(("Origin", APP), ("Origin", "https://other.test"))]
)
def test_an_answer_to_others_says_only_that_it_depends_on_the_origin(asked: Call) -> None:
    assert answer_of(CrossOrigin(PLAIN), asked) is None, "CORS keeps nobody out"
    assert answered(PLAIN, asked) == [("Vary", "Origin")]


def test_any_origin_does_not_depend_on_which() -> None:
    for asked in (from_page("https://anybody.test"), from_page("null")):
        assert answered(Cors(("*", APP)), asked) == [("Access-Control-Allow-Origin", "*")]
    assert answered(Cors(("*",)), call()) == []


def test_what_the_instance_says_is_replaced() -> None:
    said = [("access-control-allow-origin", "*"), ("Access-Control-Max-Age", "9"), ("Vary", "Accept")]
    for asked in (from_page(), from_page("https://other.test")):
        fields = answered(PLAIN, asked, *said)
        assert fields[:2] == [("Vary", "Accept"), ("Vary", "Origin")]
        assert fields[2:] == ([("Access-Control-Allow-Origin", APP)] if asked.fields == from_page().fields else [])


def test_a_preflight_is_answered_with_what_is_allowed() -> None:
    asked = preflight()
    answer = answer_of(CrossOrigin(FULL), asked)
    assert answer is not None
    assert (answer.reason, answer.status, answer.body) == (None, 204, b"")
    assert answered(FULL, asked, *answer.fields, ours=True) == [
        ("Access-Control-Allow-Methods", "GET, PUT"),
        ("Access-Control-Allow-Headers", "Content-Type, X-Id"),
        ("Access-Control-Max-Age", "60"),
        ("Vary", "Origin"),
        ("Access-Control-Allow-Origin", APP),
        ("Access-Control-Allow-Credentials", "true"),
    ]


def test_a_preflight_of_another_origin_is_refused() -> None:
    answer = answer_of(CrossOrigin(FULL), preflight("https://other.test"))
    assert answer is not None
    assert answer.reason is Reason.FORBIDDEN
    assert answered(FULL, preflight("https://other.test"), ours=True) == [("Vary", "Origin")]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (preflight(method="PATCH"), "PATCH"),
        (call(("Origin", APP), method="OPTIONS"), None),
        (call(("Access-Control-Request-Method", "PUT"), method="OPTIONS"), None),
        (call(("Origin", APP), ("Access-Control-Request-Method", "PUT"), method="POST"), None),
    ],
)
def test_what_a_preflight_is(asked: Call, expected: str | None) -> None:
    assert preflighted(asked.facts) == expected
    assert (answer_of(CrossOrigin(FULL), asked) is None) is (expected is None)


def test_a_route_without_origins_has_no_stage() -> None:
    assert CrossOrigin.of(ROUTE) is None
    assert CrossOrigin.of(replace(ROUTE, cors=PLAIN)) is not None
