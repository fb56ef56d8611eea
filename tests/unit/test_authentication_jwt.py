"""Tokens: those that are taken, and what is made of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import JsonValue

from gateway.core.authentication import Jwt, KeySetText, Place, PlaceKind
from gateway.core.model import Reason
from gateway.pipeline.stage import Identity
from tests.support.tokens import CLAIMS, NOW, key_of, key_set, public, token
from tests.unit.authentication_support import World, bearer, refused, sent

RSA = key_of("RSA")
KEYS = KeySetText(key_set(public(RSA, kid="k1")).decode())
POLICY = Jwt(KEYS, issuers=frozenset({"https://issuer.test"}), audiences=frozenset({"orders"}))
ALGORITHMS = [
    *((name, "RSA") for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    *(("ES256", "P-256"), ("ES384", "P-384"), ("ES512", "P-521")),
    *(("EdDSA", "Ed25519"), ("EdDSA", "Ed448"), ("Ed25519", "Ed25519"), ("Ed448", "Ed448")),
]


@pytest.fixture
async def world() -> World:
    return World()


@pytest.mark.parametrize(("algorithm", "kind"), ALGORITHMS)
async def test_each_algorithm_goes_with_its_key(world: World, algorithm: str, kind: str) -> None:
    key = key_of(kind)
    policy = replace(POLICY, keys=KeySetText(key_set(public(key, kid="k1")).decode()))
    answer, call = await world.ask(world.route(policy), bearer(token(algorithm, key)))
    assert answer is None
    assert call.claims == CLAIMS
    assert call.identity == Identity("jwt", "alice", "https://issuer.test")


async def test_the_credential_does_not_go_on_unless_the_route_says_so(world: World) -> None:
    given = bearer(token("RS256", RSA))
    _, call = await world.ask(world.route(POLICY), given, ("accept", "*/*"))
    assert call.fields == [("accept", "*/*")]
    _, call = await world.ask(world.route(replace(POLICY, forward=True)), given)
    assert call.fields == [given]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_the_scheme_compares_without_case(world: World, scheme: str) -> None:
    answer, _ = await world.ask(world.route(POLICY), ("authorization", f"{scheme} {token('RS256', RSA)}"))
    assert answer is None


async def test_other_places(world: World) -> None:
    good = token("RS256", RSA)
    header = world.route(replace(POLICY, place=Place(PlaceKind.HEADER, "x-token")))
    answer, call = await world.ask(header, ("X-Token", good), ("X_Token", "a twin"))
    assert (answer, call.fields) == (None, [])
    cookie = world.route(replace(POLICY, place=Place(PlaceKind.COOKIE, "t")))
    answer, call = await world.ask(cookie, ("Cookie", f"a=1; t={good}; b=2"))
    assert (answer, call.fields) == (None, [("Cookie", "a=1; b=2")])
    answer, call = await world.ask(cookie, ("Cookie", f"t={good}"))
    assert (answer, call.fields) == (None, [])
    query = world.route(replace(POLICY, place=Place(PlaceKind.QUERY, "t")))
    answer, call = await world.ask(query, query=f"a=%20&%74={good}&b")
    assert (answer, call.query) == (None, "?a=%20&b")
    answer, call = await world.ask(query, query=f"t={good}")
    assert (answer, call.query) == (None, "")


async def test_several_tokens_are_none(world: World) -> None:
    good = token("RS256", RSA)
    for route, fields, query in (
        (world.route(POLICY), [bearer(good), bearer(good)], ""),
        (world.route(replace(POLICY, place=Place(PlaceKind.COOKIE, "t"))), [("Cookie", f"t={good}; t=x")], ""),
        (world.route(replace(POLICY, place=Place(PlaceKind.QUERY, "t"))), [], f"t={good}&t=x"),
    ):
        answer, _ = await world.ask(route, *fields, query=query)
        assert refused(answer) == "the token is refused: several tokens"


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearerx"])
async def test_no_token_is_told_apart_from_a_bad_one(world: World, value: str) -> None:
    answer, _ = await world.ask(world.route(POLICY), ("Authorization", value))
    assert refused(answer) == "no token"
    assert answer is not None
    assert answer.fields == (("WWW-Authenticate", 'Bearer realm="gateway"'),)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"exp": NOW - 30}, "expired (exp)"),
        ({"exp": None}, "its exp is not a time"),
        ({"exp": "2030"}, "its exp is not a time"),
        ({"exp": True}, "its exp is not a time"),
        ({"nbf": NOW + 31}, "not valid yet (nbf)"),
        ({"nbf": []}, "its nbf is not a time"),
        ({"iat": "now"}, "its iat is not a time"),
        ({"iss": "https://issuer.test/"}, "of another issuer (iss)"),
        ({"iss": ["https://issuer.test"]}, "of another issuer (iss)"),
        ({"iss": None}, "of another issuer (iss)"),
        ({"aud": "users"}, "for another audience (aud)"),
        ({"aud": ["users", 1, {}]}, "for another audience (aud)"),
        ({"aud": []}, "for another audience (aud)"),
        ({"aud": None}, "for another audience (aud)"),
        ({"sub": None}, "lacks a required claim"),
    ],
)
async def test_claims_that_are_refused(world: World, change: dict[str, JsonValue], note: str) -> None:
    route = world.route(replace(POLICY, required_claims=("sub",)))
    answer, _ = await world.ask(route, bearer(token("RS256", RSA, {**CLAIMS, **change})))
    assert refused(answer) == f"the token is refused: {note}"
    assert answer is not None
    assert answer.fields == (("WWW-Authenticate", 'Bearer realm="gateway", error="invalid_token"'),)


async def test_a_token_that_never_ends_is_refused(world: World) -> None:
    claims = {name: value for name, value in CLAIMS.items() if name != "exp"}
    answer, _ = await world.ask(world.route(POLICY), bearer(token("RS256", RSA, claims)))
    assert refused(answer) == "the token is refused: does not say when it expires (exp)"


@pytest.mark.parametrize(
    "change", [{"exp": NOW - 29}, {"nbf": NOW + 30}, {"aud": ["users", "orders"]}, {"exp": NOW + 0.5}]
)
async def test_claims_that_are_taken(world: World, change: dict[str, JsonValue]) -> None:
    answer, _ = await world.ask(world.route(POLICY), bearer(token("RS256", RSA, {**CLAIMS, **change})))
    assert answer is None


async def test_a_token_that_names_audiences_is_not_for_a_route_that_names_none(world: World) -> None:
    route = world.route(replace(POLICY, audiences=frozenset()))
    answer, _ = await world.ask(route, bearer(token("RS256", RSA)))
    assert refused(answer).endswith("for another audience (aud)")
    claims = {name: value for name, value in CLAIMS.items() if name != "aud"}
    answer, _ = await world.ask(route, bearer(token("RS256", RSA, claims)))
    assert answer is None


@pytest.mark.parametrize(
    ("claim", "value"),
    [("alice", "alice"), (7, "7"), (True, "true"), (["a", "b"], "a,b"), ([1, False], "1,false"), ("", ""), ([], "")],
)
async def test_claims_become_headers(world: World, claim: JsonValue, value: str) -> None:
    route = world.route(replace(POLICY, headers=(("X-User", "sub"), ("X-Absent", "nothing"))))
    given = bearer(token("RS256", RSA, {**CLAIMS, "sub": claim}))
    answer, call = await world.ask(route, given, ("x-user", "root"), ("X_User", "root"), ("x-absent", "spoofed"))
    assert answer is None
    assert sent(call) == {"x-user": value}


@pytest.mark.parametrize(
    "claim", ["a\r\nx-admin: 1", "a\x00", "é", " a", "a ", "x" * 4097, {"a": 1}, ["a,b"], [[1]], "\t"]
)
async def test_claims_that_no_header_can_carry_are_refused(world: World, claim: JsonValue) -> None:
    route = world.route(replace(POLICY, headers=(("x-user", "sub"),)))
    answer, call = await world.ask(route, bearer(token("RS256", RSA, {**CLAIMS, "sub": claim})))
    assert "a claim for a header" in refused(answer)
    assert "x-user" not in sent(call)


@pytest.mark.parametrize(
    "claims", [{"scope": "read write"}, {"scp": ["read", "write"]}, {"scope": ["write", 1]}, {"scope": "write"}]
)
async def test_scopes(world: World, claims: dict[str, JsonValue]) -> None:
    given = bearer(token("RS256", RSA, {**CLAIMS, **claims}))
    answer, _ = await world.ask(world.route(replace(POLICY, scopes=frozenset({"write"}))), given)
    assert answer is None
    answer, _ = await world.ask(world.route(replace(POLICY, scopes=frozenset({"write", "admin"}))), given)
    assert refused(answer, Reason.FORBIDDEN) == "the token lacks admin"
    assert answer is not None
    challenge = 'Bearer realm="gateway", error="insufficient_scope", scope="admin write"'
    assert answer.fields == (("WWW-Authenticate", challenge),)


async def test_a_token_is_verified_once_and_expires_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    route = world.route(POLICY)
    given = bearer(token("RS256", RSA))
    assert (await world.ask(route, given))[0] is None
    monkeypatch.setattr("gateway.pipeline.authentication.jwt.parse", lambda *_: pytest.fail("verified again"))
    assert (await world.ask(route, given))[0] is None
    monkeypatch.undo()
    world.time.now += 600 + 30
    answer, _ = await world.ask(route, given)
    assert refused(answer).endswith("expired (exp)")


async def test_a_route_may_take_fewer_algorithms(world: World) -> None:
    route = world.route(replace(POLICY, algorithms=frozenset({"PS256"})))
    answer, _ = await world.ask(route, bearer(token("RS256", RSA)))
    assert refused(answer).endswith("signed by an algorithm that the route does not take (alg)")
    assert (await world.ask(route, bearer(token("PS256", RSA))))[0] is None


async def test_a_token_without_kid_is_tried_with_few_keys(world: World) -> None:
    others = [public(key_of("RSA", 2), kid=f"k{number}") for number in range(8)]
    route = world.route(replace(POLICY, keys=KeySetText(key_set(*others, public(RSA, kid="mine")).decode())))
    answer, _ = await world.ask(route, bearer(token("RS256", RSA, kid=None)))
    assert refused(answer).endswith("its signature is wrong")
    assert (await world.ask(route, bearer(token("RS256", RSA, kid="mine"))))[0] is None


async def test_a_token_without_kid_is_tried_with_all_keys_that_fit(world: World) -> None:
    keys = [public(key_of("RSA", 2), kid="k2"), public(key_of("P-256"), kid="k3"), public(RSA, kid="k1")]
    route = world.route(replace(POLICY, keys=KeySetText(json.dumps({"keys": keys}))))
    assert (await world.ask(route, bearer(token("RS256", RSA, kid=None))))[0] is None
