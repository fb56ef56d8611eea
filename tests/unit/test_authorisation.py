"""`require` on a route: what it sees of an authenticated request, and whom it denies."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import JsonValue

from gateway.core.limits import RateKey, RateLimit, RateSource
from gateway.core.model import HOLDS_ALWAYS, Limits, Reason
from gateway.discovery.predicates import compile_require
from gateway.pipeline.authentication.compact import Compact
from gateway.pipeline.authorisation import Authorisation, Require
from gateway.pipeline.rate_limits import RateLimited
from gateway.pipeline.stage import Answer, Call, Identity
from tests.support.pipelines import all_stages
from tests.unit.pipeline_support import ROUTE, answer_of, call

CLAIMS: dict[str, JsonValue] = {
    "sub": "alice",
    "roles": ["admin", "billing"],
    "https://example.com/tenant": "acme",
    "realm_access": {"roles": ["editor"], "level": 3, "share": 0.5, "trial": False, "until": None},
    "id": (1 << 64) - 1,
}


def asking(
    *fields: tuple[str, str], claims: dict[str, JsonValue] | None = None, identity: Identity | None = None
) -> Call:
    asked = call(*fields)
    asked.claims, asked.identity = claims or {}, identity
    return asked


def stage(require: str, failed: list[str] | None = None) -> Require:
    made = Authorisation(compile_require, (failed if failed is not None else []).append).of(
        replace(ROUTE, require=require)
    )
    assert made is not None
    return made


def denied(answer: Answer | None) -> str:
    """Why, as the log has it; the answer itself must not tell."""
    assert answer is not None
    assert answer.note is not None
    assert answer == Answer(Reason.FORBIDDEN, note=answer.note)
    return answer.note


@pytest.mark.parametrize(
    "require",
    [
        "'admin' in claims.roles && !('root' in claims.roles) && size(claims.roles) == 2",
        "claims.roles.exists(role, role.startsWith('bill'))",
        "claims['https://example.com/tenant'] == 'acme' && 'https://example.com/tenant' in claims",
        "claims.realm_access.level >= 3 && claims.realm_access.level + 1 == 4",
        "claims.realm_access.share == 0.5 && !claims.realm_access.trial && claims.realm_access.until == null",
        "claims.realm_access == {'level': 3, 'roles': ['editor'], 'share': 0.5, 'trial': false, 'until': null}",
        "'sub' in claims && has(claims.sub) && !has(claims.email) && claims.exists(name, name == 'sub')",
        "has(claims.realm_access.level) && !has(claims.realm_access.title)",
        "claims.id > 1 && double(claims.id) == 1.8446744073709551616e19",
        "identity.kind == 'jwt' && identity.owner == 'alice' && has(identity.kind)",
        "identity.issuer == 'https://a.test'",
        "request.headers['x-tenant'] == claims['https://example.com/tenant'] && request.client_ip == '192.0.2.1'",
        "route.name == 'orders'",
    ],
)
def test_what_a_predicate_sees(require: str) -> None:
    asked = asking(("X-Tenant", "acme"), claims=CLAIMS, identity=Identity("jwt", "alice", "https://a.test"))
    assert answer_of(stage(require), asked) is None


@pytest.mark.parametrize(
    "require",
    [
        "claims == {} && size(claims) == 0",
        "!has(claims.sub) && !('sub' in claims)",
        "identity.kind == '' && identity.owner == '' && !has(identity.kind) && !has(identity.owner)",
        "identity.issuer == '' && !has(identity.issuer)",
    ],
)
def test_nobody_has_no_claims(require: str) -> None:
    assert answer_of(stage(require), asking()) is None


def test_a_predicate_that_is_false_denies_and_is_no_failure() -> None:
    failed: list[str] = []
    assert denied(answer_of(stage("'root' in claims.roles", failed), asking(claims=CLAIMS))) == "require is false"
    assert failed == []


@pytest.mark.parametrize(
    ("require", "reason"),
    [
        ("'admin' in claims.groups", "there is no groups"),
        ("!(claims.email == 'root')", "there is no email"),
        (
            "claims.roles == 'admin' || claims.roles.startsWith('admin')",
            "startsWith is not defined for what its arguments are",
        ),
        ("claims.realm_access.level", "the expression's value is not a bool"),
        ("claims.id + 1 > 0", "integer overflow"),
    ],
)
def test_a_predicate_that_fails_denies_and_each_failure_is_told_with_its_route(require: str, reason: str) -> None:
    failed: list[str] = []
    required = stage(require, failed)
    notes = {denied(answer_of(required, asking(claims=CLAIMS))) for _ in range(2)}
    assert notes == {f"require fails: {reason}"}
    assert failed == ["orders", "orders"]


def test_a_failure_that_decides_nothing_is_none() -> None:
    failed: list[str] = []
    required = stage("claims.email == 'root' || 'admin' in claims.roles", failed)
    assert answer_of(required, asking(claims=CLAIMS)) is None
    assert failed == []


def test_a_route_that_requires_nothing_has_no_stage() -> None:
    assert ROUTE.require == HOLDS_ALWAYS
    assert Authorisation(compile_require, print).of(ROUTE) is None


def test_it_is_asked_before_rates_by_credential_which_the_denied_do_not_use_up() -> None:
    rates = Limits(rate=(RateLimit(1, 1.0, 1), RateLimit(1, 1.0, 1, RateKey(RateSource.CREDENTIAL))))
    stages = all_stages(lambda: 0.0).of(replace(ROUTE, require="false", limits=rates))
    assert [type(each) for each in stages] == [RateLimited, Require, RateLimited]


def test_claims_as_deep_as_they_get_can_be_compared() -> None:
    payload = ('{"a": ' * 31 + "{}" + "}" * 31).encode()
    claims = Compact("ES256", None, b"", payload, b"").claims()
    assert answer_of(stage("claims == claims && [claims] == [claims]"), asking(claims=claims)) is None


@pytest.mark.parametrize("text", ["\ud800", "\x00", "é" * 3000, ""])
def test_whatever_text_a_claim_has_ends_in_a_verdict(text: str) -> None:
    failed: list[str] = []
    for expression in ("sample(claims.a) < 2.0", "claims.a.matches('x')", "isIP(claims.a)", "int(claims.a) == 1"):
        stage(expression, failed).request(asking(claims={"a": text}))
    assert failed == ["orders"]
