"""`limits`, `networks` and `cors` of route documents: what each spelling means, and what is refused in which words."""

from __future__ import annotations

import json
from ipaddress import ip_network

import pytest
from pydantic import JsonValue

from gateway.core.limits import BY_CLIENT, NO_CORS, Cors, Networks, RateKey, RateLimit, RateSource
from gateway.core.model import Limits, Route
from gateway.discovery.documents import BUILT_IN, Defaults, check_defaults, check_route, parse_defaults, parse_route

SMALLEST: dict[str, JsonValue] = {"backends": [{"service": "orders"}]}
BY_TENANT = RateKey(RateSource.HEADER, "x-tenant")


def route(document: dict[str, JsonValue], defaults: Defaults = BUILT_IN) -> Route:
    found = parse_route("r", json.dumps(SMALLEST | document).encode(), 1, defaults)
    assert isinstance(found, Route), str(found)
    return found


def defaults(document: dict[str, JsonValue]) -> Defaults:
    found = parse_defaults(json.dumps({"route": document}).encode(), 1)
    assert isinstance(found, Defaults), str(found)
    return found


def problems(document: dict[str, JsonValue], by_default: Defaults = BUILT_IN) -> list[tuple[str, str]]:
    raw = json.dumps(SMALLEST | document).encode()
    return [(found.field, found.reason) for found in check_route("r", raw, 0, by_default)]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("100/s", RateLimit(100, 1, 100, BY_CLIENT)),
        ("100/s by client_ip", RateLimit(100, 1, 100, BY_CLIENT)),
        ("600/m by header X-Tenant", RateLimit(600, 60, 600, BY_TENANT)),
        ("1/h by claim sub", RateLimit(1, 3600, 1, RateKey(RateSource.CLAIM, "sub"))),
        ("10000/d by credential", RateLimit(10_000, 86_400, 10_000, RateKey(RateSource.CREDENTIAL))),
        ("100000/s by route", RateLimit(100_000, 1, 100_000, RateKey(RateSource.ROUTE))),
        ({"limit": "100/s", "burst": 200}, RateLimit(100, 1, 200, BY_CLIENT)),
        ({"limit": "100/s", "by": "client_ip"}, RateLimit(100, 1, 100, BY_CLIENT)),
        ({"limit": "100/s", "by": {"client_ip": True}}, RateLimit(100, 1, 100, BY_CLIENT)),
        ({"limit": "100/s", "by": {"header": "X-Tenant"}}, RateLimit(100, 1, 100, BY_TENANT)),
        ({"limit": "5/m", "by": {"claim": "a b"}}, RateLimit(5, 60, 5, RateKey(RateSource.CLAIM, "a b"))),
        ({"limit": "5/m", "by": "credential"}, RateLimit(5, 60, 5, RateKey(RateSource.CREDENTIAL))),
        ({"limit": "5/m", "by": "route"}, RateLimit(5, 60, 5, RateKey(RateSource.ROUTE))),
    ],
)
def test_rates(written: JsonValue, expected: RateLimit) -> None:
    assert route({"limits": {"rate": written}}).limits == Limits(rate=(expected,))
    assert route({"limits": {"rate": [written]}}).limits == Limits(rate=(expected,))


def test_several_rates() -> None:
    found = route({"limits": {"rate": ["9/s", {"limit": "99/m", "by": {"header": "x-tenant"}}], "header": "16KiB"}})
    assert found.limits == Limits(header=16_384, rate=(RateLimit(9, 1, 9), RateLimit(99, 60, 99, BY_TENANT)))


_A_RATE = "a rate is a number of requests in a second, minute, hour or day, such as 100/s, 600/m or 1000/h"
_A_KEY = "a rate is by client_ip, header NAME, claim NAME, credential or route"


@pytest.mark.parametrize(
    ("written", "field", "reason"),
    [
        ("100", "limits.rate", _A_RATE),
        ("0/s", "limits.rate", _A_RATE),
        ("1.5/s", "limits.rate", _A_RATE),
        ("100/w", "limits.rate", _A_RATE),
        ("", "limits.rate", "is not a rate such as 100/s, or 100/s by client_ip"),
        ("100/s for all", "limits.rate", "is not a rate such as 100/s, or 100/s by client_ip"),
        ("100/s by tenant", "limits.rate", _A_KEY),
        ("100/s by header", "limits.rate", _A_KEY),
        ("100/s by route x", "limits.rate", _A_KEY),
        ("100001/s", "limits.rate", "has to be at most 100000/s"),
        (["9/s", "100"], "limits.rate[1]", _A_RATE),
        (["9/s", "9/s by client_ip"], "limits.rate", "two of the rates are the same"),
        (["1/s", "2/s", "3/s", "4/s", "5/s", "6/s", "7/s", "8/s", "9/s"], "limits.rate", "takes at most 8 entries"),
        ({"burst": 1}, "limits.rate.limit", "is required"),
        ({"limit": 5}, "limits.rate.limit", _A_RATE),
        ({"limit": "5/s", "burst": 0}, "limits.rate.burst", "has to be at least 1"),
        ({"limit": "5/s", "brust": 1}, "limits.rate.brust", "unknown field; did you mean burst?"),
        (
            {"limit": "5/s", "by": "tenant"},
            "limits.rate.by",
            "has to be client_ip, credential, route, or a mapping with header or claim",
        ),
        (
            {"limit": "5/s", "by": {"header": "a", "claim": "b"}},
            "limits.rate.by",
            "takes exactly one of client_ip, header, claim, credential and route",
        ),
        ({"limit": "5/s", "by": {"route": False}}, "limits.rate.by.route", "can only be true"),
    ],
)
def test_bad_rates(written: JsonValue, field: str, reason: str) -> None:
    assert problems({"limits": {"rate": written}}) == [(field, reason)]


def test_a_route_may_give_a_default_limit_up() -> None:
    by_default = defaults({"limits": {"rate": "5/s", "header": "1KiB"}})
    assert route({}, by_default).limits == Limits(header=1024, rate=(RateLimit(5, 1, 5),))
    assert route({"limits": {"rate": [], "header": 0}}, by_default).limits == Limits()


def test_networks() -> None:
    found = route({"networks": {"allow": ["10.0.0.0/8", "192.0.2.7"], "deny": ["2001:db8::/32"]}})
    allow = (ip_network("10.0.0.0/8"), ip_network("192.0.2.7/32"))
    assert found.networks == Networks(allow, (ip_network("2001:db8::/32"),))


def test_networks_are_inherited_list_by_list() -> None:
    by_default = defaults({"networks": {"allow": ["10.0.0.0/8"], "deny": ["10.6.6.0/24"]}})
    found = route({"networks": {"allow": []}}, by_default)
    assert found.networks == Networks((), (ip_network("10.6.6.0/24"),))


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("10.0.0.1/8", "has bits set behind the prefix; write 10.0.0.0/8"),
        ("10.0.0.0/33", "is not a network such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"),
        ("fe80::1%eth0", "is not a network such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"),
        ("example.com", "is not a network such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"),
        ("", "is not a network such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"),
        (7, "is not a network such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"),
    ],
)
def test_bad_networks(written: JsonValue, reason: str) -> None:
    assert problems({"networks": {"deny": [written]}}) == [("networks.deny[0]", reason)]


def test_cors() -> None:
    found = route(
        {
            "cors": {
                "origins": ["https://app.example.com", "https://*.example.com:8443", "http://[::1]:3000", "app://main"],
                "methods": ["PUT"],
                "headers": ["Content-Type"],
                "expose": ["X-Total"],
                "credentials": True,
                "max_age": "0s",
            }
        }
    )
    origins = ("https://app.example.com", "https://*.example.com:8443", "http://[::1]:3000", "app://main")
    assert found.cors == Cors(origins, ("PUT",), ("Content-Type",), ("X-Total",), True, 0)


@pytest.mark.parametrize("name", ["origins", "methods", "headers", "expose"])
def test_anything_goes_without_credentials_only(name: str) -> None:
    document: dict[str, JsonValue] = {"origins": ["https://a.b"], name: ["*"]}
    assert getattr(route({"cors": document}).cors, name) == ("*",)
    reason = "with credentials, * would allow every page to act for the user; browsers refuse it"
    assert problems({"cors": document | {"credentials": True}}) == [(f"cors.{name}", reason)]
    by_default = defaults({"cors": document})
    assert problems({"cors": {"credentials": True}}, by_default) == [(f"cors.{name}", reason)]


_ORIGIN = (
    "is not an origin as browsers write it: https://app.example.com, in lower case, with a port if it is not the usual "
    "one, without a path; *. allowed in front of the host, or * alone"
)


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        ("app.example.com", _ORIGIN),
        ("https://app.example.com/", _ORIGIN),
        ("https://App.example.com", _ORIGIN),
        ("https://", _ORIGIN),
        ("https://*", _ORIGIN),
        ("https://a.*.example.com", _ORIGIN),
        ("https://*example.com", _ORIGIN),
        ("https://user@example.com", _ORIGIN),
        ("https://a.b,https://c.d", _ORIGIN),
        ("https://[0::1]", _ORIGIN),
        ("https://a.b:443", "browsers leave the usual port out; write https://a.b"),
        ("http://a.b:80", "browsers leave the usual port out; write http://a.b"),
        ("null", "null is what every sandboxed page calls itself; it cannot be allowed alone"),
    ],
)
def test_bad_origins(origin: str, reason: str) -> None:
    assert problems({"cors": {"origins": [origin]}}) == [("cors.origins[0]", reason)]


def test_cors_without_origins_is_a_slip() -> None:
    assert problems({"cors": {"methods": ["PUT"]}}) == [("cors", "needs to know which origins")]
    raw = json.dumps({"route": {"cors": {"methods": ["PUT"]}}}).encode()
    assert [(found.field, found.reason) for found in check_defaults(raw)] == [
        ("route.cors", "needs to know which origins")
    ]


def test_a_route_may_give_default_cors_up() -> None:
    by_default = defaults({"cors": {"origins": ["https://a.b"], "credentials": True}})
    assert route({}, by_default).cors == Cors(("https://a.b",), credentials=True)
    assert route({"cors": {"methods": ["PUT"]}}, by_default).cors == Cors(("https://a.b",), ("PUT",), credentials=True)
    assert route({"cors": {"origins": []}}, by_default).cors == NO_CORS
