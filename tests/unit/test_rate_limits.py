"""A route's rate limits: what is counted together, what a refusal says, and what an edit forgets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.limits import BY_CLIENT, RateKey, RateLimit, RateSource
from gateway.core.model import Limits, Reason, Route
from gateway.pipeline.rate_limits import RateLimits, key_of
from gateway.pipeline.stage import Call, Identity
from tests.unit.pipeline_support import ROUTE, answer_of, call

BY_TENANT = RateKey(RateSource.HEADER, "x-tenant")
BY_ROUTE = RateKey(RateSource.ROUTE)
ONE_A_MINUTE = RateLimit(1, 60.0, 1)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rates(clock: Clock) -> RateLimits:
    return RateLimits(clock, 1000)


def limited(*limits: RateLimit, name: str = "orders", version: int = 1) -> Route:
    return replace(ROUTE, name=name, version=version, limits=Limits(rate=limits))


def passes(rates: RateLimits, route: Route, asked: Call) -> bool:
    stage = rates.of_anyone(route)
    assert stage is not None
    return answer_of(stage, asked) is None


def test_a_route_without_a_rate_has_no_stage(rates: RateLimits) -> None:
    assert rates.of_anyone(ROUTE) is None


@pytest.mark.parametrize("order", [1, -1])
def test_a_refusal_says_when_to_come_again_and_the_log_which_limit_it_was(
    rates: RateLimits, clock: Clock, order: int
) -> None:
    stage = rates.of_anyone(limited(*[ONE_A_MINUTE, RateLimit(1, 1.0, 1, BY_ROUTE)][::order]))
    assert stage is not None
    assert answer_of(stage, call()) is None
    clock.now += 0.5
    answer = answer_of(stage, call())
    assert answer is not None
    assert answer.reason is Reason.RATE_LIMITED
    assert answer.retry_after == pytest.approx(59.5)
    assert answer.note == "over 1/m by client_ip"
    assert answer.detail is None


def test_what_one_limit_refuses_counts_for_no_other(rates: RateLimits, clock: Clock) -> None:
    stage = rates.of_anyone(limited(RateLimit(1, 1.0, 1, BY_ROUTE), RateLimit(2, 3600.0, 2)))
    assert stage is not None
    assert answer_of(stage, call()) is None
    for _ in range(5):
        assert answer_of(stage, call()) is not None
    clock.now += 1.0
    assert answer_of(stage, call()) is None


def key(by: RateKey, asked: Call) -> object:
    return key_of(by)(asked)


def test_an_ipv6_client_is_its_network() -> None:
    first, second = call(client_ip="2001:db8:0:1::1"), call(client_ip="2001:db8:0:1:ffff::2")
    assert key(BY_CLIENT, first) == key(BY_CLIENT, second)
    assert key(BY_CLIENT, first) != key(BY_CLIENT, call(client_ip="2001:db8:0:2::1"))


def test_an_ipv4_client_is_its_address() -> None:
    assert key(BY_CLIENT, call(client_ip="192.0.2.1")) != key(BY_CLIENT, call(client_ip="192.0.2.2"))


def test_a_client_without_an_address_has_a_key() -> None:
    assert key(BY_CLIENT, call(client_ip="unknown")) == "unknown"


def test_a_header_is_all_of_its_values() -> None:
    one, two = call(("X-Tenant", "a")), call(("x-tenant", "a"), ("X-Tenant", "b"))
    assert key(BY_TENANT, one) == "a"
    assert key(BY_TENANT, two) == "a, b"


def test_requests_without_what_is_counted_by_share_one_key() -> None:
    for by in (BY_TENANT, RateKey(RateSource.CLAIM, "sub"), RateKey(RateSource.CREDENTIAL)):
        assert key(by, call()) is None
    assert key(BY_TENANT, call(("x-tenant", ""))) == ""


def test_claims_and_credentials_are_those_that_authentication_found() -> None:
    asked = call()
    asked.claims = {"sub": "ann", "group": 7, "roles": {"b": 1, "a": [2]}, "none": None}
    asked.identity = Identity("api_key", "ann")
    assert key(RateKey(RateSource.CLAIM, "sub"), asked) == "ann"
    assert key(RateKey(RateSource.CLAIM, "group"), asked) == "7"
    assert key(RateKey(RateSource.CLAIM, "roles"), asked) == '{"a": [2], "b": 1}'
    assert key(RateKey(RateSource.CLAIM, "none"), asked) is None
    assert key(RateKey(RateSource.CREDENTIAL), asked) == "api_key:0::ann"


def test_whom_two_issuers_call_the_same_are_two() -> None:
    def of(owner: str, issuer: str) -> object:
        asked = call()
        asked.identity = Identity("jwt", owner, issuer)
        return key(RateKey(RateSource.CREDENTIAL), asked)

    assert of("ann", "https://a.test") != of("ann", "https://b.test")
    assert of("ann", "https://a.test") == of("ann", "https://a.test")
    assert of("b:ann", "a") != of("ann", "a:b"), "the parts are kept apart"


def test_all_requests_of_a_route_are_one() -> None:
    assert key(BY_ROUTE, call(client_ip="192.0.2.1")) == key(BY_ROUTE, call(client_ip="192.0.2.2"))


def test_no_key_is_long() -> None:
    longest = key(BY_TENANT, call(("x-tenant", "a" * 64)))
    assert longest == "a" * 64
    found = [key(BY_TENANT, call(("x-tenant", "a" * 8000 + last))) for last in "ab"]
    assert all(isinstance(each, bytes) and len(each) == 16 for each in found)
    assert found[0] != found[1]
    odd = call()
    odd.identity = Identity("jwt", "\ud800" * 65)
    assert isinstance(key(RateKey(RateSource.CREDENTIAL), odd), bytes)


def test_an_edit_that_leaves_the_limit_alone_leaves_its_counts(rates: RateLimits) -> None:
    assert passes(rates, limited(ONE_A_MINUTE), call())
    edited = replace(limited(ONE_A_MINUTE, RateLimit(9, 1.0, 9), version=2), websocket=False)
    assert not passes(rates, edited, call())


def test_an_edit_of_the_limit_begins_anew(rates: RateLimits) -> None:
    assert passes(rates, limited(ONE_A_MINUTE), call())
    assert passes(rates, limited(replace(ONE_A_MINUTE, count=2), version=2), call())
    assert passes(rates, limited(ONE_A_MINUTE, version=3), call()), "what was given up is forgotten"


def test_each_route_counts_its_own(rates: RateLimits) -> None:
    assert passes(rates, limited(ONE_A_MINUTE), call())
    assert passes(rates, limited(ONE_A_MINUTE, name="stock"), call())


def test_routes_that_are_gone_are_forgotten(rates: RateLimits) -> None:
    assert passes(rates, limited(ONE_A_MINUTE), call())
    rates.follow([limited(ONE_A_MINUTE)])
    assert not passes(rates, limited(ONE_A_MINUTE), call())
    rates.follow([])
    assert list(rates.loads()) == []
    assert passes(rates, limited(ONE_A_MINUTE), call())


def test_a_route_that_gives_its_limits_up_holds_nothing(rates: RateLimits) -> None:
    assert passes(rates, limited(ONE_A_MINUTE), call())
    assert rates.of_anyone(replace(ROUTE, version=2)) is None
    assert list(rates.loads()) == []


def test_what_is_remembered_can_be_counted(clock: Clock) -> None:
    rates = RateLimits(clock, 2)
    stage = rates.of_anyone(limited(ONE_A_MINUTE, RateLimit(9, 1.0, 9, BY_ROUTE)))
    assert stage is not None
    for number in range(4):
        assert answer_of(stage, call(client_ip=f"192.0.2.{number}")) is None
    assert [(load.route, load.keys, load.forgotten) for load in rates.loads()] == [("orders", 3, 2)]


def test_a_limit_reads_as_it_is_written() -> None:
    assert str(RateLimit(600, 60.0, 600, BY_TENANT)) == "600/m by header x-tenant"


def test_limits_that_need_a_credential_are_a_stage_of_their_own(rates: RateLimits) -> None:
    route = limited(RateLimit(1, 60.0, 1, RateKey(RateSource.CREDENTIAL)), RateLimit(5, 60.0, 5))
    anyone, authenticated = rates.of_anyone(route), rates.of_authenticated(route)
    assert anyone is not None
    assert authenticated is not None
    assert [answer_of(anyone, call()) is None for _ in range(3)] == [True, True, True]
    assert [answer_of(authenticated, call()) is None for _ in range(2)] == [True, False]
    assert rates.of_authenticated(limited(ONE_A_MINUTE, name="other")) is None
    assert [(load.route, load.keys) for load in rates.loads()] == [("orders", 2)]
